"""A comparison of runs as text and files: terminal, CSV, Markdown, one PNG."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_implicit.reporting.comparison import RecordedRun, columns_of, over_seeds
from lit_implicit.reporting.config_differences import differences

if TYPE_CHECKING:
    from rich.table import Table

_SHORT = ("seed", "parameters", "seconds", "test/error", "test/failed", "val/error")
"""Columns that fit a screen; the CSV has all. Run directories stand beside, by number."""


def print_comparison(runs: Sequence[RecordedRun]) -> None:
    """Print runs as rows, spreads over seeds, and the settings that differ as columns by run."""
    from rich.console import Console

    rows = [run.row() for run in runs]
    names = _shown(rows)
    numbers = [str(number) for number in range(1, len(runs) + 1)]
    console = Console(highlight=False)
    for number, run in zip(numbers, runs, strict=True):
        print(f"{number}: {_name(run)}")  # noqa: T201  # Rich would wrap a path at some width
    console.print(
        _table(["", *names], [[n, *_cells(r, names)] for n, r in zip(numbers, rows, strict=True)])
    )
    for row in over_seeds(runs):
        print(f"{row['run']}: {', '.join(_spread(row))}")  # noqa: T201
    settings = differences([run.config for run in runs])
    if settings:
        console.print(_table(["setting", *numbers], [[k, *v] for k, v in settings.items()]))
    for number, run in zip(numbers, runs, strict=True):
        for stage, findings in (run.report.get("findings") or {}).items():
            for finding in findings:
                print(f"{number}, {stage}: {finding}")  # noqa: T201


def write_comparison(runs: Sequence[RecordedRun], folder: Path) -> None:
    """Write `comparison.csv`, `comparison.md` and, where there are pictures, `comparison.png`.

    Args:
        runs: The runs.
        folder: Where to; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [run.row() for run in runs]
    names = columns_of(rows)
    with (folder / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "comparison.md").write_text(_markdown(runs, rows), encoding="utf-8")
    _draw(runs, folder / "comparison.png")


def _markdown(runs: Sequence[RecordedRun], rows: Sequence[Mapping[str, Any]]) -> str:
    names = _shown(rows)
    numbers = [str(number) for number in range(1, len(runs) + 1)]
    header = ["", "run", *names]
    blocks = [
        _grid(
            header,
            [
                [n, _name(run), *_cells(row, names)]
                for n, run, row in zip(numbers, runs, rows, strict=True)
            ],
        )
    ]
    spreads = [f"- {row['run']}: {', '.join(_spread(row))}" for row in over_seeds(runs)]
    if spreads:
        blocks.append("\n".join(spreads))
    if settings := differences([run.config for run in runs]):
        blocks.append(_grid(["setting", *numbers], [[k, *v] for k, v in settings.items()]))
    return "\n\n".join(blocks) + "\n"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines)


def _draw(runs: Sequence[RecordedRun], path: Path) -> None:
    """Put the pictures of the runs side by side: a column for each run, a row for each picture."""
    pictures = [{p.name: p for p in sorted((r.folder / "figures").glob("*.png"))} for r in runs]
    # Of the test where there are some: those of the last validation repeat them.
    names = sorted(dict.fromkeys(name for found in pictures for name in found))
    names = [name for name in names if name.startswith("test_")] or names
    if not names:
        return
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    figure = Figure(figsize=(6 * len(runs), 4.5 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(runs), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for column, (run, found) in enumerate(zip(runs, pictures, strict=True)):
        grid[0, column].set_title(f"{column + 1}: {run.folder}")
        for row, name in enumerate(names):
            if name in found:
                grid[row, column].imshow(imread(found[name]))
            else:
                grid[row, column].text(0.5, 0.5, f"no {name}", ha="center")
    figure.savefig(path, dpi=100)


def _name(run: RecordedRun) -> str:
    """The folder of a run, and how it ended where that was not as it should."""
    status = run.report.get("status")
    return str(run.folder) if status == "completed" else f"{run.folder} ({status})"


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = columns_of(rows)
    return [name for name in _SHORT if name in names]


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_text(row.get(name)) for name in names]


def _spread(row: Mapping[str, Any]) -> list[str]:
    wanted = [name for name in _shown([row]) if "/" in name]
    return [
        f"{name} {_text(row[name])} ({_text(row[f'{name} min'])} to {_text(row[f'{name} max'])})"
        for name in wanted
    ]


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    return table
