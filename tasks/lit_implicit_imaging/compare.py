"""Photographs restored by several trained models, side by side.

`python -m lit_implicit_imaging.compare --output FOLDER explicit=RUN_DIR hqs=RUN_DIR ...`
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lit_implicit.errors import DataError, LitImplicitError
from lit_implicit.loading import load
from lit_implicit.module import AbstractLightningModule
from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.gallery import draw_panels
from lit_implicit_imaging.measures import psnr


def compare(runs: Mapping[str, Path], output: Path, shown: Sequence[int] = (0, 1, 2)) -> None:
    """Restore the test photographs by the best weights of each run, and draw some of them.

    Writes `gallery.png` (truth, observation, answers with their PSNR, absolute errors) and
    `psnr.csv` (a row for each photograph, a column for each run).

    Args:
        runs: Run directories by the title of their column; the data is that of the first.
        output: Folder of what is written; made if missing.
        shown: Numbers of the photographs in the picture.

    Raises:
        DataError: If a run directory has no config or no checkpoint, or the test split no such
            photograph.
    """
    data = _data(next(iter(runs.values())))
    data.setup("test")
    batches: list[ImagingBatch] = list(data.test_dataloader())
    n = sum(len(batch.index) for batch in batches)
    if any(not 0 <= number < n for number in shown):
        raise DataError(f"`shown` must be numbers from 0 to {n - 1}, got {list(shown)}.")
    answers = {title: _answers(_model(folder), batches) for title, folder in runs.items()}
    truth = torch.cat([batch.target for batch in batches if batch.target is not None])
    output.mkdir(parents=True, exist_ok=True)
    decibels = {title: psnr(y, truth).tolist() for title, y in answers.items()}
    files = [file for batch in batches for file in batch.files]
    with (output / "psnr.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photograph", *decibels])
        rows = zip([Path(f).name for f in files], *decibels.values(), strict=True)
        writer.writerows([name, *(f"{value:.3f}" for value in values)] for name, *values in rows)
    figure = draw_panels(*_rows(answers, batches, shown), errors_of=list(answers))
    figure.savefig(output / "gallery.png", dpi=100)


def _rows(
    answers: Mapping[str, Tensor], batches: Sequence[ImagingBatch], shown: Sequence[int]
) -> tuple[dict[str, Tensor], ImagingBatch]:
    """Return the columns of the picture and its photographs, in the order in which they stand."""
    parts, first = [], 0
    keep = torch.zeros(sum(len(batch.index) for batch in batches), dtype=torch.bool)
    keep[list(shown)] = True
    for batch in batches:
        mask = keep[first : first + len(batch.index)]
        parts.append(batch.select(mask))
        first += len(batch.index)
    whole = parts[0]
    whole.target = torch.cat([part.target for part in parts if part.target is not None])
    whole.index = torch.cat([part.index for part in parts])
    observation = torch.cat([part.x.observation for part in parts])
    return {"observation": observation, **{k: y[keep] for k, y in answers.items()}}, whole


@torch.no_grad()
def _answers(model: AbstractLightningModule, batches: Sequence[ImagingBatch]) -> Tensor:
    return torch.cat([model.answer(batch, training=False)[0] for batch in batches])


def _data(folder: Path) -> ImagingDataModule:
    path = folder / "config.yaml"
    if not path.is_file():
        raise DataError(f"{str(folder)!r} is no run directory: it has no config.yaml.")
    settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    return ImagingDataModule(**settings.get("init_args", {}))


def _model(folder: Path) -> AbstractLightningModule:
    return load(folder / "checkpoints" / "best.ckpt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare runs as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="lit_implicit_imaging.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN_DIR")
    parser.add_argument("--output", type=Path, default=Path("comparison"))
    parser.add_argument("--shown", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args(arguments)
    runs = {}
    for text in given.runs:
        title, found, folder = text.partition("=")
        if not found:
            parser.error(f"expected TITLE=RUN_DIR, got {text!r}")
        runs[title] = Path(folder)
    try:
        compare(runs, given.output, given.shown)
    except LitImplicitError as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    print(given.output)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
