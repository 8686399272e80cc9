"""Build the paper's Table 1 and Figure 7 out of run directories.

    python -m lit_implicit_lp.table1 RUN_DIR... --output FOLDER

writes `table1.csv` and `table1.md`, a row per run beside the paper's number, and `figure7_*.png`
and `.csv` for each implicit run. Everything is read from the runs' `report.json`, `config.yaml` and
`figures/`: nothing is computed again.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_implicit.errors import LitImplicitError
from lit_implicit_lp.figure7 import write_figure
from lit_implicit_lp.table_runs import TableRun, read_table_run


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
    header = [name for name in rows[0] if name != "run"]
    texts = [[_text(name, row[name]) for name in header] for row in rows]
    lines = [header, ["---"] * len(header), *texts]
    markdown = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    (folder / "table1.md").write_text(markdown, encoding="utf-8")
    n_shown = header.index("seconds")  # what fits a screen
    table = Table(*header[:n_shown])
    for text in texts:
        table.add_row(*text[:n_shown])
    Console(highlight=False).print(table)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("parameters", "seconds"):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}" if name == "iterations" else f"{value:.3f}"
    return str(value)


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
    try:
        runs = [read_table_run(folder) for folder in given.run_dirs]
        runs.sort(key=lambda run: (run.kind, run.width, run.recorded.report.get("seed") or 0))
        write_table(runs, given.output)
        for run in runs:
            if run.kind == "implicit":
                write_figure(run, given.output)
    except (LitImplicitError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    print(given.output)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
