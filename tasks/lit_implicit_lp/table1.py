"""Build the paper's Table 1 and Figure 7 out of run directories.

    python -m lit_implicit_lp.table1 RUN_DIR... --output FOLDER

writes `table1.csv` and `table1.md`, a row per run beside the paper's number, and `figure7_*.png`
and `.csv` for each implicit run. Everything is read from the runs' `report.json`, `config.yaml` and
`figures/`: nothing is computed again.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_implicit.scripts import run_script
from lit_implicit_lp.figure7 import write_figure
from lit_implicit_lp.table_runs import TableRun, read_table_run

_N_SHOWN = 6
"""Columns that fit a screen; Markdown has more, and the CSV all."""


def write_table(runs: Sequence[TableRun], folder: Path) -> None:
    """Write `table1.csv` and `table1.md` into `folder`, which is made if need be; print the table.

    Args:
        runs: At least one run.
        folder: Where to.
    """
    from rich.console import Console
    from rich.table import Table

    rows = [run.row() for run in runs]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table1.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    texts = [_texts(row) for row in rows]
    lines = [list(texts[0]), ["---"] * len(texts[0]), *(text.values() for text in texts)]
    markdown = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    (folder / "table1.md").write_text(markdown, encoding="utf-8")
    table = Table(*list(texts[0])[:_N_SHOWN])
    for text in texts:
        table.add_row(*list(text.values())[:_N_SHOWN])
    Console(highlight=False).print(table)


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row as it is shown: the error with its standard deviation over programs."""

    def number(name: str, form: str) -> str:
        return "" if row[name] is None else format(row[name], form)

    spread = number("std over programs", ".3f")
    return {
        "network": row["network"],
        "width": str(row["width"]),
        "parameters": number("parameters", ","),
        "paper": number("paper", ".3f"),
        "test error": number("test error", ".3f") + (f" ± {spread}" if spread else ""),
        "seed": number("seed", ""),
        "iterations": number("iterations", ".1f"),
        "error at the end / least": number("error at the end / least", ".3f"),
        "seconds": number("seconds", ","),
        "commit": row["commit"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status, 2 where what was asked for cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m lit_implicit_lp.table1",
        description="Build Table 1 and Figure 7 of arXiv:2510.03638 from run directories.",
    )
    parser.add_argument(
        "run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="what `lit-implicit fit` printed"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("table1"), metavar="FOLDER", help="default: table1"
    )
    given = parser.parse_args(argv)
    return run_script(lambda: _build(given.run_dirs, given.output))


def _build(run_dirs: Sequence[Path], output: Path) -> Path:
    runs = [read_table_run(folder) for folder in run_dirs]
    runs.sort(key=lambda run: (run.kind, run.width, run.recorded.report.get("seed") or 0))
    write_table(runs, output)
    for run in runs:
        if run.kind == "implicit":
            write_figure(run, output)
    return output


if __name__ == "__main__":
    sys.exit(main())
