"""A step for any locally Lipschitz function, from nothing but its size and its slope nearby."""

import math

import torch
from torch import Tensor

from lit_implicit_scalar.targets import ScalarTarget

_BISECTIONS = 100  # phi may be as small as 1e-12, and wants all its digits
# Of the radius, for a slope by central differences: half of the digits, in float64.
_NUDGE = 1e-6


def general_step(target: ScalarTarget, x: Tensor) -> Tensor:
    """Return phi(x)^2, a step that makes the construction regular with a = 4 and b = 2.

    phi(x) is the largest r <= 1 with r (1 + M + Lambda) <= 1, where M and Lambda are the supremum
    and the Lipschitz constant of F on the points of the domain within r of x. phi is 1-Lipschitz,
    as balls nest, and so phi^2 is 2-Lipschitz and phi^2 F 4-Lipschitz, with no bound on the domain.

    The left side grows with r, so bisection finds phi, in float64; it has no derivative, so one
    Newton step, whose value is zero, gives it that of the implicit function theorem. Here M and
    Lambda are attained at the ends of the ball, as |F| and |F'| are quasiconvex on each interval of
    every domain; a ball that reaches a singular point has an infinite Lambda. phi is below 1, as no
    target vanishes on a ball.

    Args:
        target: The function.
        x: Points of its domain, shape `(n,)`.

    Returns:
        phi^2, shape `(n,)`, in the dtype of `x`.
    """
    wide = x.double() if x.device.type != "mps" else x
    point = wide.detach()
    low, high = torch.zeros_like(point), torch.ones_like(point)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = _load(target, point, middle) <= 1
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    change = _load(target, point, low * (1 + _NUDGE)) - _load(target, point, low * (1 - _NUDGE))
    slope = change / (2 * _NUDGE * low)
    load = _load(target, wide, low)
    phi = low - (load - load.detach()) / slope
    # Where F is tame up to a singular point, on one side of it, the ball ends there all the same.
    phi = torch.where(load.detach() < 1 - 1e-6, target.distance(wide), phi)
    return phi.square().to(x.dtype)


def _load(target: ScalarTarget, x: Tensor, r: Tensor) -> Tensor:
    """Return r (1 + M + Lambda) for the balls of radius r, infinite where one is cut."""
    left, right = (x.new_tensor(ends) for ends in zip(*target.intervals, strict=True))
    home = ((x[:, None] > left) & (x[:, None] <= right)).to(torch.int8).argmax(-1)
    left, right = left[home], right[home]
    singular = x.new_tensor(target.singular)
    cut = ((x[:, None] - singular).abs() <= r[:, None]).any(-1)
    # Where the ball is cut, the values at its ends mean nothing, and must not become NaN.
    radius = torch.where(cut, 0.0, r)
    ends = [torch.maximum(x - radius, left), torch.minimum(x + radius, right)]
    size = torch.maximum(*(target.function(end).abs() for end in ends))
    steepness = torch.maximum(*(target.slope(end).abs() for end in ends))
    return torch.where(cut, math.inf, r * (1 + size + steepness))
