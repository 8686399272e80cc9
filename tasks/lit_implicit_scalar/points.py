"""Points of a target's domain, each a function of (seed, split, index), and batches of them."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lit_implicit_scalar.targets import TARGETS, ScalarTarget

SPLITS = {"train": 0, "val": 1, "test": 2}
"""Streams of the generator: no two splits share a point."""

# Where in its cell a grid has its points. Irrational parts: no two grids share one, of whatever
# size. The grid of the test has the ends of the domain instead.
_OFFSETS = {"train": (5**0.5 - 1) / 2, "val": 2**0.5 - 1}


@dataclass(eq=False)  # not frozen: Lightning moves batches by setting their fields
class ScalarBatch:
    """Points and the values of the target there.

    Args:
        x: Points, shape `(n,)`.
        target: F(x), shape `(n,)`.
        index: Number of each point in its split, shape `(n,)`.
        target_name: Which F, a key of `TARGETS`.
    """

    x: Tensor
    target: Tensor
    index: Tensor
    target_name: str

    def select(self, keep: Tensor) -> "ScalarBatch":
        """Return the points in `keep`: a mask or an index."""
        return replace(self, x=self.x[keep], target=self.target[keep], index=self.index[keep])


def make_batch(x: Tensor, target_name: str) -> ScalarBatch:
    """Put points together with the values of a target there.

    Args:
        x: Points of its domain, shape `(n,)`.
        target_name: A key of `TARGETS`.
    """
    index = torch.arange(len(x), device=x.device)
    return ScalarBatch(x, TARGETS[target_name].function(x), index, target_name)


def draw_points(
    target: ScalarTarget,
    split: str,
    n: int,
    *,
    spread: Literal["uniform", "grid"] = "uniform",
    closest: float = 1e-6,
    seed: int = 0,
) -> Tensor:
    """Return points of a domain in float64, shape `(n,)`.

    Uniform points are drawn, so that point i is a function of (seed, split, i). A grid is evenly
    spaced; that of the test includes both ends of each interval of the domain, or comes as near as
    `closest` where an end is singular.

    Args:
        target: The function whose domain it is.
        split: `train`, `val` or `test`.
        n: Number of points.
        spread: `uniform` or `grid`.
        closest: Least distance to a singular point.
        seed: Seed of uniform points.
    """
    intervals = _inner(target, closest)
    if spread == "uniform":
        drawn = np.random.default_rng((seed, SPLITS[split])).random(n)
        return _place(torch.from_numpy(drawn), intervals)
    if split == "test":
        return _grid_with_ends(n, intervals)
    share = (torch.arange(n, dtype=torch.float64) + _OFFSETS[split]) / n
    return _place(share, intervals)


def _inner(target: ScalarTarget, closest: float) -> list[tuple[float, float]]:
    """Keep the intervals of a domain away from its singular points."""
    return [
        (
            low + closest if low in target.singular else low,
            high - closest if high in target.singular else high,
        )
        for low, high in target.intervals
    ]


def _grid_with_ends(n: int, intervals: list[tuple[float, float]]) -> Tensor:
    """Give each interval points by its length, the first and the last on its ends."""
    lengths = [high - low for low, high in intervals]
    counts = [round(n * length / sum(lengths)) for length in lengths]
    counts[lengths.index(max(lengths))] += n - sum(counts)
    return torch.cat(
        [
            torch.linspace(low, high, count, dtype=torch.float64)
            for (low, high), count in zip(intervals, counts, strict=True)
        ]
    )


def _place(share: Tensor, intervals: list[tuple[float, float]]) -> Tensor:
    """Map [0, 1] onto intervals laid end to end."""
    lengths = [high - low for low, high in intervals]
    position = share * sum(lengths)
    # From the last interval to the first: a point at which two meet is the first's.
    x = intervals[-1][0] + (position - sum(lengths[:-1]))
    for number in reversed(range(len(intervals) - 1)):
        low, high = intervals[number]
        before = sum(lengths[:number])
        inside = position <= before + lengths[number]
        x = torch.where(inside, (low + (position - before)).clamp(max=high), x)
    return x.clamp(min=intervals[0][0], max=intervals[-1][1])
