"""The paper's perturbations of a flow: sine waves along the diagonal, at 15 frequencies."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FREQUENCIES = (
    0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99,
)  # fmt: skip
"""Shares of the largest wavenumber, N / 2."""

STEP = 1e-2 / 32**0.5
"""2-norm of a sample's change of vorticity: the paper's 1e-2 is that of a batch of 32."""


def mode_name(frequency: float) -> str:
    """Return the name of a frequency's mode, as `f0.05`."""
    return f"f{frequency:g}"


def wavenumber(frequency: float, n: int) -> int:
    """Return the wavenumber of a frequency on N points a side: at least 1, below N / 2."""
    return max(1, int(frequency * n / 2))


def is_first(frequency: float, frequencies: Sequence[float], n: int) -> bool:
    """Tell whether no earlier frequency has the same wavenumber on N points a side."""
    earlier = frequencies[: frequencies.index(frequency)]
    return wavenumber(frequency, n) not in {wavenumber(other, n) for other in earlier}


def wave(frequency: float, n: int, norm: float, like: Tensor) -> Tensor:
    """Return sin(k x + k y) of a given 2-norm, shape `(N, N)`.

    Args:
        frequency: Share of N / 2 that k is.
        n: Points N a side.
        norm: 2-norm of the samples of the wave.
        like: A tensor of the wanted dtype and device.
    """
    k = wavenumber(frequency, n)
    points = torch.arange(n, device=like.device)
    # The sum of indices first, and modulo N in integers: exact at any wavenumber.
    turns = (k * (points[:, None] + points)) % n
    found: Tensor = torch.sin(turns.double() * (2 * math.pi / n))
    return (found * (norm * math.sqrt(2) / n)).to(like)
