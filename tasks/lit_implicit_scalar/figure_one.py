"""The toy function of the paper's Figure 1: two poles, and a kink in between its branches.

References:
    arXiv:2510.03638, Figure 1.
"""

import torch
from torch import Tensor


def figure_one(x: Tensor) -> Tensor:
    """Return -x below 0, 1/x + 1/(x - 1) between 0 and 1, and 1/(x - 1) - 1/x above 1."""
    return _choose(x, -x, 1 / x + 1 / (x - 1), 1 / (x - 1) - 1 / x)


def figure_one_slope(x: Tensor) -> Tensor:
    """Return the derivative of `figure_one`."""
    left, right = 1 / x.square(), 1 / (x - 1).square()
    return _choose(x, -torch.ones_like(x), -left - right, left - right)


def figure_one_step(x: Tensor) -> Tensor:
    """Return the paper's step: x^2 (x - 1)^2, at most 0.1 below 0 and at most 0.5 elsewhere."""
    step = (x * (x - 1)).square()
    return torch.where(x < 0, step.clamp(max=0.1), step.clamp(max=0.5))


def _choose(x: Tensor, below: Tensor, between: Tensor, above: Tensor) -> Tensor:
    return torch.where(x < 0, below, torch.where(x < 1, between, above))
