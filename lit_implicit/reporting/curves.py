"""Curves as files: CSV for spreadsheets, JSON with the settings, PNG for the eye."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_implicit.reporting.report import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_curve(
    folder: Path,
    name: str,
    columns: Mapping[str, Sequence[float]],
    settings: Mapping[str, Any],
    figure: "Figure",
) -> None:
    """Write `name.csv`, `name.json` and `name.png` into `folder`, which is made if need be.

    Args:
        folder: Where to.
        name: File name without its ending.
        columns: The curve, column by column.
        settings: What it was measured with.
        figure: Its picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    content = {"settings": dict(settings), "columns": {k: list(v) for k, v in columns.items()}}
    write_json(content, folder / f"{name}.json")
    figure.savefig(folder / f"{name}.png", dpi=120)
