"""Restored photographs as files: a PNG each, and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit.files import replace_whole
from lit_implicit.predictions import solution_columns, write_table
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
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    decibels = None if batch.target is None else psnr(y, batch.target).tolist()
    for i, (number, file) in enumerate(zip(batch.index.tolist(), batch.files, strict=True)):
        path = folder / f"{number:05d}_{Path(file).stem}.png"
        _write_png(batch.without_margin(y[i]), path)
        row: dict[str, Any] = {"file": file, "restored": path.name}
        if decibels is not None:
            row["psnr"] = f"{decibels[i]:.2f}"
        rows.append(row | solution_columns(solution, i))
    write_table(rows, folder / f"images_{int(batch.index[0]):05d}.csv")


def _write_png(image: Tensor, path: Path) -> None:
    from PIL import Image

    pixels = image.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    with replace_whole(path) as file:
        Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy()).save(file, format="png")
