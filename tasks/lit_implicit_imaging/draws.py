"""What is drawn for a sample: functions of (seed, split, epoch, sample) and of nothing else."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STREAMS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Draws:
    """The random numbers of a sample, each from the same place of its stream.

    So another crop, or another range of noise levels, changes nothing else.

    Args:
        place: Where the crop lies in the photograph, (vertical, horizontal), in [0, 1).
        symmetry: Which of the eight symmetries of a square: bits of (transpose, upside down,
            mirrored).
        level: Place in the range of noise levels, in [0, 1).
        kernel_seed: Seed of a blur kernel.
        noise: The stream, from which the noise is drawn.
    """

    place: tuple[float, float]
    symmetry: int
    level: float
    kernel_seed: int
    noise: np.random.Generator

    @classmethod
    def of(cls, seed: int, split: str, epoch: int, sample: int) -> "Draws":
        """Return the draws of a sample."""
        stream = np.random.default_rng((seed, STREAMS[split], epoch, sample))
        vertical, horizontal, level = stream.random(3)
        symmetry, kernel_seed = stream.integers(8), stream.integers(2**62)
        return cls(
            (float(vertical), float(horizontal)), int(symmetry), float(level), int(kernel_seed),
            stream,
        )  # fmt: skip

    def standard_noise(self, shape: tuple[int, ...]) -> Tensor:
        """Return noise of standard deviation 1, in float32 whatever it is used in."""
        return torch.from_numpy(self.noise.standard_normal(shape, dtype=np.float32))


def crop_at(place: tuple[float, float], size: tuple[int, int], crop: int) -> tuple[int, int]:
    """Return the upper left pixel of a crop.

    Args:
        place: Where, in [0, 1): each pixel that fits is as likely as the others.
        size: Height and width of the photograph, at least `crop`.
        crop: Height and width of the crop.
    """
    row, column = (
        int(part * (length - crop + 1)) for part, length in zip(place, size, strict=True)
    )
    return row, column


def turn(image: Tensor, symmetry: int) -> Tensor:
    """Flip and turn a square image, shape `(channels, side, side)`, by one of eight symmetries."""
    if symmetry & 4:
        image = image.transpose(1, 2)
    axes = [axis for bit, axis in ((2, 1), (1, 2)) if symmetry & bit]
    return image.flip(axes) if axes else image
