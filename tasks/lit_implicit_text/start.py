"""Starts of the loop that are drawn: noise as a function of (seed, position)."""

import math

import numpy as np
import torch
from torch import Tensor


def start_noise(seed: int, length: int, width: int) -> Tensor:
    """Return noise for the first positions: a longer table begins with a shorter one.

    Normal numbers of variance 2/5, drawn anew where they exceed three standard deviations: after
    truncation their standard deviation is 0.624, and none is above 1.898 in size.

    Args:
        seed: Any integer that is not negative.
        length: Number of positions.
        width: Numbers per position.

    Returns:
        Shape `(length, width)`, float64, on the CPU: the same on all devices.

    References:
        arXiv:2502.05171, section 3.1; sqrt(2 / (5 width)) times the embeddings' scale sqrt(width).
    """
    # numpy's streams are filled in order and stay as they are from version to version.
    uniform = torch.from_numpy(np.random.default_rng(seed).random((length, width)))
    edge = 0.5 * math.erfc(3 / 2**0.5)  # the share below three standard deviations
    noise: Tensor = 0.4**0.5 * torch.special.ndtri(edge + (1 - 2 * edge) * uniform)
    return noise
