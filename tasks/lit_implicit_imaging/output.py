"""Restored photographs as files: a PNG each, and a table."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit.files import replace_whole
from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.measures import psnr

if TYPE_CHECKING:
    from lit_implicit.solvers import Solution


def write_images(y: Tensor, solution: "Solution | None", batch: ImagingBatch, folder: Path) -> None:
    """Write each image as `NUMBER_NAME.png`, and a row of it in `images_NUMBER.csv`.

    Args:
        y: Restored images, shape `(n, channels, height, width)`.
        solution: What the solver says, or None for an explicit network.
        batch: The photographs.
        folder: Where the files go; made if missing.
    """
    from lit_implicit.solvers import Status

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    decibels = None if batch.target is None else psnr(y, batch.target).tolist()
    for i, (number, file) in enumerate(zip(batch.index.tolist(), batch.files, strict=True)):
        path = folder / f"{number:05d}_{Path(file).stem}.png"
        _write_png(batch.without_margin(y[i]), path)
        row: dict[str, Any] = {"file": file, "restored": path.name}
        if decibels is not None:
            row["psnr"] = f"{decibels[i]:.2f}"
        if solution is not None:
            row["n_iter"] = int(solution.n_iter[i])
            row["relative_residual"] = f"{float(solution.relative_residual[i]):.1e}"
            row["status"] = Status(int(solution.status[i])).name
        rows.append(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with replace_whole(folder / f"images_{int(batch.index[0]):05d}.csv") as out:
        out.write(text.getvalue().encode())


def read_rows(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Return the rows of all tables below a folder, in the order of the photographs."""
    tables = sorted(folder.rglob("images_*.csv"), key=lambda path: path.name)
    rows: list[Mapping[str, Any]] = []
    for path in tables:
        with path.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows


def _write_png(image: Tensor, path: Path) -> None:
    from PIL import Image

    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    with replace_whole(path) as file:
        Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy()).save(file, format="png")
