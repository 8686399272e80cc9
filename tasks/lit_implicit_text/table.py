"""Answers by iterations as a table in Markdown: what `curve` and `test` found, for a page.

python -m lit_implicit_text.table RUN_DIR/figures/test_rollout_curve.json
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lit_implicit.errors import DataError
from lit_implicit.scripts import run_script


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a rollout curve's file; return the exit status."""
    parser = argparse.ArgumentParser(prog="lit_implicit_text.table", description=__doc__)
    parser.add_argument("file", type=Path, help="test_rollout_curve.json of a run's figures")
    given = parser.parse_args(arguments)
    return run_script(lambda: markdown(read_rows(given.file)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the answers in a rollout curve's file: a row for each t, a column for each prompt.

    Raises:
        DataError: If the file cannot be read, or holds no answers by iterations.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["settings"]["answers"]
    except OSError as err:
        raise DataError(f"{str(path)!r} cannot be read: {err.strerror}.") from err
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(
            f"{str(path)!r} holds no answers by iterations. Give the test_rollout_curve.json that "
            "`curve` or `test` wrote into the figures of a run."
        ) from err
    if not rows:
        raise DataError(f"{str(path)!r} holds no answers: the task rolled out none.")
    if not _is_table(rows):
        raise DataError(
            f"{str(path)!r} holds no answers by iterations: expected a list of rows with `t` and "
            "the same prompts in each."
        )
    return list(rows)


def _is_table(rows: Any) -> bool:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    return "t" in rows[0] and all(row.keys() == rows[0].keys() for row in rows)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table: a column for each prompt, a row for each t at which an answer changes.

    Args:
        rows: Answers by prompt, with their `t`, in ascending order; all with the same prompts.

    References:
        arXiv:2510.03638, Table 2.
    """
    prompts = [name for name in rows[0] if name != "t"]
    lines = [["t", *prompts], ["---"] * (len(prompts) + 1)]
    for answers, same in groupby(rows, key=lambda row: [str(row[name]) for name in prompts]):
        times = [str(row["t"]) for row in same]
        lines.append([", ".join(times), *answers])
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text as one cell shows it: as it stands, on one line."""
    for mark in "\\|`*_<[#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
