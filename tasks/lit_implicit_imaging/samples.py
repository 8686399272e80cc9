"""Photographs of a split as batches: crops, blurred, with noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_implicit_imaging.batch import ImagingBatch, ImagingInput
from lit_implicit_imaging.blur import blur
from lit_implicit_imaging.draws import Draws, crop_at, turn
from lit_implicit_imaging.photographs import Photograph

Item = int | tuple[int, int]
"""A sample's number, or (epoch, number)."""


@dataclass(frozen=True)
class SampleSettings:
    """How a photograph becomes a sample: the arguments of `ImagingDataModule` of these names.

    Args:
        crop: Height and width.
        noise: Least and greatest standard deviation.
        seed: Seed of all that is drawn.
        kernel_per_image: Draw a kernel for each sample.
        dtype: Precision.
    """

    crop: int
    noise: tuple[float, float]
    seed: int
    kernel_per_image: bool
    dtype: torch.dtype


class ImagingSamples(Dataset[ImagingBatch]):
    """The samples of a split, fetched a batch at a time.

    A sample is a function of (seed, split, sample), and of the epoch where crops are random: to the
    last bit, whatever its batch mates, and in whichever process.

    Args:
        photographs: The photographs, each at least as large as a crop.
        split: `train`, `val` or `test`.
        kernel: Draws a kernel by a seed, shape `(1, rows, columns)`.
        settings: Crop, noise, seed.
        n_crops: Samples of each photograph.
        random: Let place, flips, quarter turns and noise change with the epoch; else each sample is
            the same in all epochs, neither flipped nor turned.
    """

    def __init__(
        self,
        photographs: Sequence[Photograph],
        split: str,
        kernel: Callable[[int], Tensor],
        settings: SampleSettings,
        *,
        n_crops: int = 1,
        random: bool = False,
    ) -> None:
        self.photographs, self.split, self.kernel = photographs, split, kernel
        self.settings, self.n_crops, self.random = settings, n_crops, random

    def __len__(self) -> int:
        return len(self.photographs) * self.n_crops

    def __getitem__(self, item: Item) -> ImagingBatch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> ImagingBatch:
        """Return one batch: what torch's loader calls where it finds it."""
        pairs = [item if isinstance(item, tuple) else (0, item) for item in items]
        targets, inputs = zip(*(self._sample(*pair) for pair in pairs), strict=True)
        index = [number for _, number in pairs]
        x = ImagingInput(
            observation=torch.stack([x.observation for x in inputs]),
            kernel=torch.stack([x.kernel for x in inputs]),
            noise=torch.stack([x.noise for x in inputs]),
        )
        files = tuple(self.photographs[i % len(self.photographs)].name for i in index)
        return ImagingBatch(
            x, torch.stack(targets), torch.tensor(index), files, repeats=not self.random
        )

    def _sample(self, epoch: int, number: int) -> tuple[Tensor, ImagingInput]:
        """Return a sample's target and input, without the axis of the batch."""
        settings = self.settings
        draws = Draws.of(settings.seed, self.split, epoch if self.random else 0, number)
        photograph = self.photographs[number % len(self.photographs)]
        row, column = crop_at(draws.place, photograph.size, settings.crop)
        pixels = photograph.pixels[row : row + settings.crop, column : column + settings.crop]
        target = as_image(torch.from_numpy(pixels), settings.dtype)
        if self.random:
            target = turn(target, draws.symmetry).contiguous()
        seed = draws.kernel_seed if settings.kernel_per_image else settings.seed
        kernel = self.kernel(seed).to(settings.dtype)
        low, high = settings.noise
        level = torch.tensor(low + (high - low) * draws.level, dtype=settings.dtype)
        noise = draws.standard_noise(tuple(target.shape)).to(settings.dtype)
        # One by one: transforms of a whole batch may round in other ways.
        observation = blur(target[None], kernel[None])[0] + level * noise
        return target, ImagingInput(observation, kernel, level)


def as_image(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return pixels, shape `(height, width, channels)`, as `(channels, height, width)` in [0, 1].

    Args:
        pixels: Bytes, or floats in [0, 1].
        dtype: Of the result.
    """
    image = pixels.permute(2, 0, 1).to(dtype).contiguous()
    return image / 255 if pixels.dtype == torch.uint8 else image
