"""Photographs restored by several trained models, side by side.

`python -m lit_implicit_imaging.compare --output FOLDER explicit=RUN_DIR hqs=RUN_DIR ...`
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from lit_implicit.errors import ConfigError, DataError, ResourceError
from lit_implicit.loading import load
from lit_implicit.scripts import run_script
from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.compared_data import data_of, data_settings, refuse_other_data
from lit_implicit_imaging.gallery import draw_panels
from lit_implicit_imaging.measures import psnr
from lit_implicit_imaging.objective import ImagingObjective

_TAKEN = ("photograph", "truth", "observation")
"""Titles of the other columns."""


def compare(
    runs: Mapping[str, Path],
    output: Path,
    shown: Sequence[int] | None = None,
    *,
    any_data: bool = False,
    device: str = "cpu",
) -> Path:
    """Restore the test photographs by the best weights of each run, and draw some of them.

    Writes `gallery.png` (truth, observation, answers with their PSNR, absolute errors) and
    `psnr.csv` (a row for each photograph, a column for each run), in single precision.

    Args:
        runs: Run directories by the title of their column.
        output: Folder of what is written; made if missing.
        shown: Numbers of the photographs in the picture, in their order there; None means the
            first three.
        any_data: Compare on the data of the first run, though others were trained for another
            blur, noise or size.
        device: Where the models run, as torch names it.

    Returns:
        The folder.

    Raises:
        CheckpointError: If a run has no checkpoint of its best weights.
        ConfigError: If the runs' data differ, a title is that of another column, or there is no
            such device.
        DataError: If a folder is no run of this task, or the test split has no such photograph.
        ResourceError: If the output cannot be written.
    """
    for title in runs:
        if title in _TAKEN or not title:
            raise ConfigError(f"A run cannot have the title {title!r}. Give it another one.")
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"`device` is {device!r}, but torch finds no CUDA device. Use cpu.")
    settings = {title: data_settings(folder) for title, folder in runs.items()}
    if not any_data:
        refuse_other_data(settings)
    batches = _test_batches(runs, settings)
    n = sum(len(batch.index) for batch in batches)
    rows = range(min(3, n)) if shown is None else shown
    if not rows or any(not 0 <= number < n for number in rows):
        raise DataError(f"`shown` must be numbers from 0 to {n - 1}, got {list(rows)}.")
    answers = {title: _answers(folder, batches, device) for title, folder in runs.items()}
    whole = ImagingBatch.join(batches)
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write_table(answers, whole, output / "psnr.csv")
        images = {"observation": whole.x.observation, **answers}
        figure = draw_panels(images, whole, errors_of=list(answers), rows=rows)
        figure.savefig(output / "gallery.png", dpi=100)
    except OSError as err:
        raise ResourceError(f"{str(output)!r} cannot be written: {err}.") from err
    return output


def _test_batches(
    runs: Mapping[str, Path], settings: Mapping[str, Mapping[str, object]]
) -> list[ImagingBatch]:
    first = next(iter(runs))
    data = data_of(runs[first], settings[first])
    data.setup("test")
    return list(data.test_dataloader())


@torch.no_grad()
def _answers(folder: Path, batches: Sequence[ImagingBatch], device: str) -> Tensor:
    model = load(folder / "checkpoints" / "best.ckpt")
    if not isinstance(model.objective, ImagingObjective):
        raise DataError(f"The model of {str(folder)!r} restores no photographs.")
    model.to(device)
    moved = (move_data_to_device(batch, torch.device(device)) for batch in batches)
    return torch.cat([model.answer(batch, training=False)[0].cpu() for batch in moved])


def _write_table(answers: Mapping[str, Tensor], batch: ImagingBatch, path: Path) -> None:
    assert batch.target is not None  # test photographs are known
    decibels = [psnr(y, batch.target).tolist() for y in answers.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photograph", *answers])
        for name, *values in zip(batch.files, *decibels, strict=True):
            writer.writerow([Path(name).name, *(f"{value:.3f}" for value in values)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare runs as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="lit_implicit_imaging.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN_DIR")
    parser.add_argument("--output", type=Path, default=Path("comparison"))
    parser.add_argument(
        "--shown", type=int, nargs="+", metavar="NUMBER", help="photographs (default: the first 3)"
    )
    parser.add_argument(
        "--any_data", action="store_true", help="on the first's data, though others' differ"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args(arguments)
    runs: dict[str, Path] = {}
    for text in given.runs:
        title, found, folder = text.partition("=")
        if not found:
            parser.error(f"expected TITLE=RUN_DIR, got {text!r}")
        if title in runs:
            parser.error(f"the title {title!r} is given twice")
        runs[title] = Path(folder)
    return run_script(
        lambda: compare(
            runs, given.output, given.shown, any_data=given.any_data, device=given.device
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
