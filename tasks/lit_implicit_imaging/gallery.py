"""Pictures of photographs: truth, observation, answers and errors, with their PSNR."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.measures import psnr

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_SHOWN = 3
"""Photographs in a figure."""
_ERROR = 0.2
"""Absolute error, mean over channels, that is drawn white."""


def draw_answers(y: Tensor, batch: ImagingBatch) -> "Figure":
    """Draw truth, observation, answer and absolute error of the first photographs of a batch.

    Args:
        y: Answers, shape `(n, channels, height, width)`.
        batch: The photographs.
    """
    images = {"observation": batch.x.observation, "answer": y}
    return draw_panels(images, batch, errors_of=["answer"])


def draw_iterates(iterates: Mapping[int, Tensor], y: Tensor, batch: ImagingBatch) -> "Figure":
    """Draw truth, observation, y_t at some t, and y_*, for the first photographs of a batch.

    Args:
        iterates: Answers by t, ascending.
        y: The answers of the test solver.
        batch: The photographs.
    """
    answers = {f"$y_{{{t}}}$": y_t for t, y_t in iterates.items()}
    return draw_panels({"observation": batch.x.observation, **answers, "$y_*$": y}, batch)


def draw_panels(
    images: Mapping[str, Tensor],
    batch: ImagingBatch,
    *,
    errors_of: Sequence[str] = (),
    rows: Sequence[int] | None = None,
) -> "Figure":
    """Draw images side by side, one photograph a row, each with its PSNR.

    Args:
        images: Of each column its title and images, shape `(n, channels, height, width)`.
        batch: The photographs; where the truth is known, it is the first column.
        errors_of: Columns whose absolute errors are drawn, too, where the truth is known.
        rows: Which photographs; None means the first three.
    """
    from matplotlib.figure import Figure

    shown = list(rows if rows is not None else range(min(_SHOWN, len(batch.index))))
    truth = batch.target
    columns = dict(images) if truth is None else {"truth": truth, **images}
    errors = {} if truth is None else {name: images[name] - truth for name in errors_of}
    n_columns = len(columns) + len(errors)
    figure = Figure(figsize=(2.3 * n_columns, 2.5 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), n_columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (title, of) in enumerate(columns.items()):
        decibels = None if truth is None or title == "truth" else psnr(of, truth)
        for row, i in enumerate(shown):
            grid[row, number].imshow(_pixels(of[i]), cmap="gray", vmin=0, vmax=1)
            label = title if decibels is None else f"{title}, {float(decibels[i]):.2f} dB"
            grid[row, number].set_title(label, fontsize=9)
    for number, (title, error) in enumerate(errors.items(), len(columns)):
        sizes = error.detach().abs().float().mean(dim=1).cpu().numpy()
        for row, i in enumerate(shown):
            drawn = grid[row, number].imshow(sizes[i], cmap="magma", vmin=0, vmax=_ERROR)
            grid[row, number].set_title(f"|{title} - truth|", fontsize=9)
    if errors:
        figure.colorbar(drawn, ax=grid[:, -1].tolist(), shrink=0.8)
    return figure


def _pixels(image: Tensor) -> "np.ndarray[Any, Any]":
    """Return an image as matplotlib takes it: channels last, within [0, 1]."""
    return image.detach().float().clamp(0, 1).permute(1, 2, 0).squeeze(-1).cpu().numpy()
