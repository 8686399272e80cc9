"""What is asked of a model that restores photographs: its loss, error and perturbations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lit_implicit.errors import DataError
from lit_implicit.objective import AbstractObjective, Mode, Perturbed
from lit_implicit.predictions import read_tables
from lit_implicit_imaging.batch import ImagingInput
from lit_implicit_imaging.blur import blur
from lit_implicit_imaging.gallery import draw_answers, draw_iterates
from lit_implicit_imaging.measures import psnr, squared_error
from lit_implicit_imaging.modes import MODES, pattern
from lit_implicit_imaging.output import write_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_implicit.solvers import Solution


class ImagingObjective(AbstractObjective):
    """Restore a photograph.

    The loss is the mean squared error, the paper's; the error is its root, so the peak
    signal-to-noise ratio of an image is -20 log10(error) dB. Light and dark are 1 and 0.

    Args:
        step: Size of a perturbation of the photograph: the amplitude of its cosine, in the
            orthonormal Fourier transform.

    Raises:
        ValueError: If `step` is not positive.

    References:
        arXiv:2510.03638, image deblurring.
    """

    def __init__(self, step: float = 0.01) -> None:
        super().__init__()
        if not step > 0:
            raise ValueError(f"`ImagingObjective.step` must be positive, got {step}.")
        self.step = step

    def inputs(self, batch: Any) -> ImagingInput:
        """Return observations, kernels and noise levels."""
        x: ImagingInput = batch.x
        return x

    def n_samples(self, batch: Any) -> int:
        """Return the number of photographs."""
        return len(batch.index)

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the photographs in `keep`."""
        return batch.select(keep)

    def keys(self, batch: Any) -> Tensor | None:
        """Return each sample's number in its split, shape `(n,)`; None where crops are random.

        With `data.crops: random` a number stands for another crop in each epoch, which must not
        start from the state of the last one. `fixed` ones have keys.
        """
        return batch.index if batch.repeats else None

    def target(self, batch: Any) -> Tensor:
        """Return the photographs, shape `(n, channels, height, width)`.

        Raises:
            DataError: If nobody knows them.
        """
        if batch.target is None:
            raise DataError(
                f"The photograph behind {batch.files[0]!r} is not known, so there is no error to "
                "measure: use `lit-implicit predict`."
            )
        target: Tensor = batch.target
        return target

    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return the mean squared error of each image."""
        return squared_error(y, self.target(batch))

    def error(self, y: Any, batch: Any) -> Tensor:
        """Return the root of the mean squared error of each image."""
        return squared_error(y, self.target(batch)).sqrt()

    @property
    def scores(self) -> Mapping[str, Callable[[Any, Any], Tensor]]:
        """The peak signal-to-noise ratio of each image, in dB."""
        return {"psnr": lambda y, batch: psnr(y, self.target(batch))}

    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return the 2-norm of the difference of two images."""
        return _norm(y - y2)

    def metrics(self) -> MetricCollection:
        """Return the mean PSNR and the mean structural similarity of the images."""
        from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

        return MetricCollection(
            {
                "psnr": PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3)),
                "ssim": StructuralSimilarityIndexMeasure(data_range=1.0),
            }
        )

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Five spatial frequencies; the paper takes the largest ratio over images."""
        return dict.fromkeys(MODES, Mode(aggregate="max"))

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Add a cosine to the photographs, and its blurred image to the observations.

        The noise stays the same. Nothing is drawn.

        Raises:
            KeyError: If the mode is not one of `modes`.
        """
        if mode not in MODES:
            raise KeyError(f"{type(self).__name__} has no mode {mode!r}; known: {list(MODES)}.")
        x, target = batch.x, self.target(batch)
        moved = self.step * pattern((target.shape[-2], target.shape[-1]), mode)
        moved = moved.to(target).expand_as(target)
        seen = blur(moved, x.kernel)
        changed = replace(x, observation=x.observation + seen)
        size = _norm(seen)
        return Perturbed(replace(batch, x=changed, target=target + moved), size, size > 0)

    def leaves(self, x: Any) -> tuple[Tensor, ...]:
        """Return the observations: kernels and noise levels are held."""
        return (x.observation,)

    def with_leaves(self, x: Any, leaves: Sequence[Tensor]) -> Any:
        """Return the input with other observations."""
        (observation,) = leaves
        return replace(x, observation=observation)

    def figures(self, y: Any, batch: Any) -> Mapping[str, "Figure"]:
        """Draw truth, observation, answer and error of a few photographs."""
        return {"answer": draw_answers(y, batch)}

    @property
    def times(self) -> Sequence[int]:
        """A first step, a few, and many."""
        return (1, 4, 16, 100)

    def figures_over_iterations(
        self, iterates: Mapping[int, Any], y: Any, batch: Any
    ) -> Mapping[str, "Figure"]:
        """Draw truth, observation, some iterates and the answer side by side."""
        return {"iterates": draw_iterates(iterates, y, batch)}

    def write(self, y: Any, solution: "Solution | None", batch: Any, folder: Path) -> None:
        """Write each image as PNG, and a table of them with iterations and residuals."""
        write_images(y, solution, batch, folder)

    def summary(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Return a row for each image that was written."""
        return read_tables(folder, "images_*.csv")


def _norm(image: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(image, dim=(1, 2, 3))
    return norm
