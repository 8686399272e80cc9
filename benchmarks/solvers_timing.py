"""Times taken in turns, and ratios within a turn."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

_LEAST = 0.01
"""Seconds that one measurement takes at least; shorter runs are repeated in it."""

Runs = Mapping[str, Callable[[], Any]]


def seconds(run: Callable[[], Any], device: torch.device, number: int = 1) -> float:
    """Return the seconds of a run, the device's work included: the mean of `number` in a row."""
    synchronize(device)
    since = time.perf_counter()
    for _ in range(number):
        run()
    synchronize(device)
    return (time.perf_counter() - since) / number


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    runs: Runs, device: torch.device, rounds: int, *, keep: Sequence[str] = (), factor: float = 4.0
) -> dict[str, list[float]]:
    """Return the seconds of each run in each round, A B C A B C ...

    After a first round, which warms up and is thrown away, runs that took more than `factor` times
    the fastest are timed in one round only: they decide nothing.

    Args:
        runs: By name.
        device: Where they work.
        rounds: How many.
        keep: Runs that take part in all rounds, however slow.
        factor: As said.
    """
    first = {name: seconds(run, device) for name, run in runs.items()}
    number = {name: max(1, math.ceil(_LEAST / taken)) for name, taken in first.items()}
    limit = factor * min(first.values(), default=0.0)
    found: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name, run in runs.items():
            if i == 0 or name in keep or first[name] <= limit:
                found[name].append(seconds(run, device, number[name]))
    return found


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles, interpolated."""
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "q25": low, "q75": high}


def ratio(ours: Sequence[float], rival: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles of ours over the rival's, round by round."""
    return quartiles([a / b for a, b in zip(ours, rival, strict=False)])


def geometric_mean(values: Sequence[float]) -> float:
    """Return it; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
