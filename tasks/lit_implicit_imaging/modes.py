"""The paper's perturbations of an image: cosines at five spatial frequencies."""

import torch
from torch import Tensor

MODES = {"q10": 0.1, "q30": 0.3, "q50": 0.5, "q70": 0.7, "q90": 0.9}
"""Percentiles of the frequencies, sorted by their length, by the mode's name."""


def pattern(size: tuple[int, int], mode: str) -> Tensor:
    """Return a cosine of one spatial frequency.

    Of all frequencies of the half spectrum, sorted by length, the one at the mode's percentile;
    1 in the orthonormal transform. The cosine's 2-norm is the square root of 2, where the frequency
    and its mirror image are two, and both within the transform; at small sizes it may be less.

    Args:
        size: Height and width.
        mode: A key of `MODES`.

    Returns:
        Shape `(height, width)`, float64.

    References:
        arXiv:2510.03638, image deblurring, Lipschitz curves.
    """
    height, width = size
    rows = torch.fft.fftfreq(height, dtype=torch.float64)
    columns = torch.fft.rfftfreq(width, dtype=torch.float64)
    length = rows[:, None].square() + columns.square()
    order = length.flatten().argsort(stable=True)
    spectrum = torch.zeros(length.numel(), dtype=torch.complex128)
    spectrum[order[int(MODES[mode] * (len(order) - 1))]] = 1.0
    found: Tensor = torch.fft.irfft2(spectrum.view_as(length), s=size, norm="ortho")
    return found
