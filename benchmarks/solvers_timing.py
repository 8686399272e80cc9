"""Times taken in turns, and ratios within a turn."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

_LEAST = 0.01
"""Seconds that one measurement takes at least; shorter runs are repeated in it."""

CLOCKS = {"wall": "perf_counter", "cpu": "process_time"}
"""Functions of `time`: seconds that pass, or those that this process got of a busy processor."""

Runs = Mapping[str, Callable[[], Any]]


def seconds(
    run: Callable[[], Any], device: torch.device, number: int = 1, clock: str = "wall"
) -> float:
    """Return the seconds of a run, the device's work included: the mean of `number` in a row.

    Args:
        run: What is timed.
        device: Where it works.
        number: How many runs are timed together.
        clock: One of `CLOCKS`.
    """
    synchronize(device)
    now: Callable[[], float] = getattr(time, CLOCKS[clock])
    since = now()
    for _ in range(number):
        run()
    synchronize(device)
    return (now() - since) / number


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(
    runs: Runs,
    device: torch.device,
    rounds: int,
    always: Collection[str] = (),
    factor: float = 2.0,
    clock: str = "wall",
) -> dict[str, list[float]]:
    """Return the seconds of each run in each round, A B C A B C ...

    All take part in a first round, the warm-up. Who decides nothing has that as its only time: runs
    that took more than `factor` times the fastest of their family, and families whose fastest took
    more than twice that of the fastest of all. The others' first time is thrown away.

    Args:
        runs: By name; what stands before a colon is the family.
        device: Where they work.
        rounds: How many, without the first.
        always: Families that take part, however slow, and that others are not measured by.
        factor: As said.
        clock: One of `CLOCKS`.
    """
    first = {name: seconds(run, device, clock=clock) for name, run in runs.items()}
    number = {name: max(1, math.ceil(_LEAST / taken)) for name, taken in first.items()}
    best: dict[str, float] = {}
    for name, taken in first.items():
        best[_family(name)] = min(taken, best.get(_family(name), math.inf))
    fastest = min((t for name, t in best.items() if name not in always), default=math.inf)
    chosen = [
        name
        for name in runs
        if first[name] <= factor * best[_family(name)]
        and (_family(name) in always or best[_family(name)] <= 2 * factor * fastest)
    ]
    found = {name: [] if name in chosen else [taken] for name, taken in first.items()}
    for _ in range(rounds):
        for name in chosen:
            found[name].append(seconds(runs[name], device, number[name], clock))
    return found


def _family(name: str) -> str:
    return name.partition(":")[0]


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
