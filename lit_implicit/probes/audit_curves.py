"""Curves of residuals and distances over iterations: do they still fall, and how fast?"""

import torch
from torch import Tensor

_FALLS = 0.9
"""Largest ratio of the end of a curve to its middle at which it counts as falling.

The middle is its second quarter, the end its last: a curve like 1/t has a ratio of 1/3, a cycle or
a plateau one of 1, and w^t one of w^(T / 2): over T = 120 iterations it falls up to w = 0.998.
"""


def falls(curves: Tensor) -> Tensor:
    """Tell which curves, shape `(n, T + 1)`, still fall at their end, shape `(n,)`."""
    n_iter = curves.shape[1] - 1
    middle = curves[:, n_iter // 4 : n_iter // 2 + 1].amax(1)
    return curves[:, 3 * n_iter // 4 :].amax(1) <= _FALLS * middle


def rates(residuals: Tensor, ratios: Tensor, eps: float) -> Tensor:
    """Return the factor by which each residual falls in an iteration, shape `(n,)`.

    Measured over the last half of the curve, or of its part above rounding; NaN if that is short.

    Args:
        residuals: |G(z_t) - z_t| of each sample at t = 0..T, shape `(n, T + 1)`.
        ratios: The same relative to |G(z_t)|.
        eps: Machine precision of the states.
    """
    above = (ratios > 100 * eps).cumprod(1)
    last = (above.sum(1) - 1).clamp(min=0)
    first = last // 2
    ends, starts = residuals.gather(1, last[:, None]), residuals.gather(1, first[:, None])
    slopes = (ends / starts).squeeze(1).pow(1 / (last - first))
    return slopes.where(last > first, torch.nan)
