"""Blur kernels: delta, Gaussian, motion, or one of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_implicit.errors import ConfigError
from lit_implicit_imaging.kernel_files import SUFFIXES, read_kernel

KINDS = ("motion", "gaussian", "delta")

_REACH = 0.5
"""Spread of a motion, in half widths of the kernel.

Kernels of 17 pixels are then about as wide as that of Levin et al. (root mean square 3.5 pixels,
theirs 4.1); with deepinv's default most are hardly a blur (1.8).
"""


@dataclass(frozen=True)
class KernelSettings:
    """Which kernel blurs: the arguments of `ImagingDataModule` of these names.

    Args:
        kernel: One of `KINDS`, or a file.
        size: Rows and columns of a motion or Gaussian kernel, odd.
        width: Standard deviation of a Gaussian kernel (pixels).
        index: Which kernel of a file that holds several, from 0 on.
        normalize: Divide what a file holds by its sum.
    """

    kernel: str = "motion"
    size: int = 17
    width: float = 1.6
    index: int | None = None
    normalize: bool = False


def find_kernel(settings: KernelSettings) -> Callable[[int], Tensor]:
    """Return a function that draws a kernel, shape `(1, rows, columns)`, float64, by a seed.

    Only motion kernels depend on the seed. A file is read at once.

    Args:
        settings: Which kernel.

    Raises:
        ConfigError: If it is neither one of `KINDS` nor a file.
        DataError: If the file holds no blur kernel.
    """
    if settings.kernel == "motion":
        return partial(motion_kernel, settings.size)
    if settings.kernel == "gaussian":
        fixed = gaussian_kernel(settings.size, settings.width)
    elif settings.kernel == "delta":
        fixed = torch.ones(1, 1, 1, dtype=torch.float64)
    else:
        path = Path(settings.kernel).expanduser()
        if not path.is_file():
            close = get_close_matches(settings.kernel, KINDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"`data.kernel` must be {', '.join(KINDS)}, or a file that ends in "
                f"{', '.join(SUFFIXES)}; {settings.kernel!r} is none and no such file is "
                f"there.{hint}"
            )
        array = read_kernel(path, settings.index, normalize=settings.normalize)
        fixed = torch.from_numpy(array)[None]
    return _Same(fixed)


@dataclass(frozen=True, eq=False)
class _Same:
    """Draws the same kernel each time: a class, so that it can be sent to other processes."""

    kernel: Tensor

    def __call__(self, seed: int) -> Tensor:
        return self.kernel


def gaussian_kernel(size: int, width: float) -> Tensor:
    """Return a round Gaussian of sum 1, shape `(1, size, size)`.

    Args:
        size: Rows and columns, odd.
        width: Standard deviation (pixels).
    """
    place = torch.arange(size, dtype=torch.float64) - size // 2
    profile = torch.exp(-((place / width) ** 2) / 2)
    profile = profile / profile.sum()
    return torch.outer(profile, profile)[None]


@lru_cache(maxsize=4096)  # 3 ms; fixed crops ask for the same ones in each epoch
def motion_kernel(size: int, seed: int) -> Tensor:
    """Return the trace of a camera that shook, of sum 1, shape `(1, size, size)`.

    Args:
        size: Rows and columns.
        seed: The path is a function of it.

    References:
        Schuler et al. (2015), "Learning to Deblur", by deepinv's `MotionBlurGenerator`.
    """
    from deepinv.physics.generator import MotionBlurGenerator

    draw = np.random.default_rng(seed)
    while True:
        rng = torch.Generator().manual_seed(int(draw.integers(2**62)))
        generator = MotionBlurGenerator((size, size), rng=rng, sigma=_REACH)
        kernel: Tensor = generator.step(batch_size=1)["filter"][0].double()
        total = float(kernel.sum())
        if total > 0:  # else the whole path lies outside
            return kernel / total
