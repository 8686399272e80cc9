"""Statistics of samples some of which have no value: NaN and infinite ones are left out."""

import math

import torch
from torch import Tensor


def mean_of(values: Tensor) -> float:
    """Return the mean; NaN of nothing."""
    values = values[values.isfinite()]
    return float(values.mean()) if len(values) else math.nan


def largest_of(values: Tensor) -> float:
    """Return the largest; NaN of nothing."""
    values = values[values.isfinite()]
    return float(values.max()) if len(values) else math.nan


def largest_along(values: Tensor, axis: int) -> Tensor:
    """Return the largest along an axis; NaN where there is nothing."""
    known = values.isfinite()
    if values.shape[axis] == 0:
        return values.new_full(values.shape[:axis] + values.shape[axis + 1 :], torch.nan)
    return values.where(known, -torch.inf).amax(axis).where(known.any(axis), torch.nan)


def statistics_of(values: Tensor) -> dict[str, float]:
    """Return number, mean, quantiles and maximum."""
    values = values[values.isfinite()].cpu().double()  # Apple's devices have no double
    numbers = {"n": float(len(values)), "mean": mean_of(values)}
    for name, share in {"q10": 0.1, "median": 0.5, "q90": 0.9}.items():
        numbers[name] = float(values.quantile(share)) if len(values) else math.nan
    return {**numbers, "max": largest_of(values)}


def fit_exponent(x: Tensor, y: Tensor) -> float:
    """Return p of y ~ x^p by least squares in logarithms.

    Args:
        x: Positive numbers, shape `(n,)`.
        y: Numbers that are not negative, shape `(n,)`. Zeros have no logarithm and are left out,
            as are numbers that are not finite.

    Returns:
        The exponent; 0 where all of `y` is zero, NaN where less than two points are left.
    """
    x, y = x.cpu().double(), y.cpu().double()
    if len(y) > 1 and not y.any():
        return 0.0
    sound = (y > 0) & y.isfinite()
    if sound.sum() < 2:
        return math.nan
    log_x, log_y = x[sound].log(), y[sound].log()
    log_x = log_x - log_x.mean()
    return float(torch.dot(log_x, log_y) / torch.dot(log_x, log_x))
