"""The benchmark of solvers picks, times, compares and judges as it says."""

import math

import pytest
import torch

CPU = torch.device("cpu")


def _ladder(part, errors, budget=100, calls=10, grid=(0.1, 0.01, 0.001, 0.0001)):
    tried = []

    def attempt(rtol):
        tried.append(rtol)
        error = errors[grid.index(rtol)]
        if isinstance(error, Exception):
            raise error
        return error, calls

    return part("picking").Ladder(attempt, budget, grid), tried


def test_picker_takes_the_loosest_tolerance(part):
    ladder, tried = _ladder(part, [0.5, 0.05, 0.004, 0.0004])
    assert ladder.loosest(0.01).rtol == 0.001
    assert ladder.loosest(0.06).rtol == 0.01  # from what was tried
    assert tried == [0.1, 0.01, 0.001]
    assert ladder.loosest(0.0005).rtol == 0.0001
    assert ladder.loosest(1e-9) is None
    assert ladder.best.error == 0.0004


def test_picker_ends_with_the_budget_and_with_failures(part):
    ladder, tried = _ladder(part, [0.5] * 4, budget=10)
    assert ladder.loosest(0.01) is None
    assert tried == [0.1]
    ladder, tried = _ladder(part, [0.5, RuntimeError("singular\nmatrix"), 0.0, 0.0])
    assert ladder.loosest(0.01) is None
    assert (ladder.trials[-1].failure, tried) == ("RuntimeError: singular", [0.1, 0.01])
    assert ladder.best.error == 0.5


def test_picker_gives_up_on_the_hopelessly_slow(part, monkeypatch):
    picking, clock = part("picking"), {"now": 0.0}
    monkeypatch.setattr(picking.time, "perf_counter", lambda: clock["now"])
    hurry = picking.Hurry(factor=8)

    def ladder(seconds, errors):
        def attempt(rtol):
            clock["now"] += seconds
            return errors[rtol], 10

        return picking.Ladder(attempt, 100, (0.1, 0.01), hurry)

    errors = {0.1: 0.5, 0.01: 0.0}
    assert ladder(1.0, errors).loosest(0.1).rtol == 0.01
    assert ladder(7.0, errors).loosest(0.1).rtol == 0.01
    slow = ladder(9.0, errors)
    assert slow.loosest(0.1) is None
    assert slow.best.failure == "given up: 8 times as long as the fastest"
    assert ladder(9.0, {0.1: 0.05}).loosest(0.1).rtol == 0.1  # slow, but there


def test_goal_is_loosened_until_one_reaches_it(part):
    ladders = [_ladder(part, [0.5, 0.05, 0.04, 0.02])[0], _ladder(part, [0.9] * 4)[0]]
    assert part("picking").reachable(0.05, ladders) == 0.05
    assert part("picking").reachable(0.001, ladders) == pytest.approx(0.001 * 10**1.5)
    with pytest.raises(RuntimeError, match="No method"):
        part("picking").reachable(0.001, [_ladder(part, [math.inf] * 4)[0]])


def test_rounds_take_turns_and_leave_out_the_slow(part, monkeypatch):
    timing, order = part("timing"), []
    clock = {"now": 0.0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock["now"])

    def run(name, seconds):
        def go():
            order.append(name)
            clock["now"] += seconds

        return go

    lasts = {"a: 1": 1.0, "a: 2": 3.0, "b: 1": 5.0, "b: 2": 9.0, "c: 1": 4.0}
    runs = {name: run(name, seconds) for name, seconds in lasts.items()}
    taken = timing.in_turns(runs, CPU, rounds=2, always=("b",))
    assert order == [*lasts, *2 * ["a: 1", "b: 1", "b: 2", "c: 1"]]
    assert taken == {"a: 1": [1, 1], "a: 2": [3], "b: 1": [5, 5], "b: 2": [9, 9], "c: 1": [4, 4]}
    order.clear()
    taken = timing.in_turns(runs, CPU, rounds=1, factor=1.5)
    assert order == [*lasts, "a: 1"]
    assert taken["c: 1"] == [4]
    assert timing.seconds(run("c", 0.25), CPU, number=4) == 0.25


def test_ratios_are_taken_round_by_round(part):
    timing = part("timing")
    assert timing.ratio([2.0, 4.0, 9.0], [1.0, 4.0, 3.0]) == {
        "median": 2.0, "q25": 1.5, "q75": 2.5
    }  # fmt: skip
    assert timing.geometric_mean([0.5, 8.0, 2.0]) == pytest.approx(2.0)
    assert math.isnan(timing.geometric_mean([]))


def _row(library, method, times, n_calls=10):
    found = {"problem": "p", "goal": 1e-3, "library": library, "method": method}
    if times is None:
        return {**found, "seconds": None, "failed": {}}
    times = [float(t) for t in times]
    median = {"median": sorted(times)[len(times) // 2]}
    return {**found, "n_calls": n_calls, "seconds": median, "seconds_each": times}


def test_comparison_is_of_the_best_with_the_best_rival(part):
    comparing = part("comparing")
    rows = [
        _row("lit-implicit", "Picard", [4, 4, 4]),
        _row("lit-implicit", "Anderson", [2, 3, 2]),
        _row("torchdeq", "anderson", [8, 4, 8]),
        _row("torchdeq", "broyden", None),
        _row("plain loop", "Picard", [10, 10, 10]),
        _row("plain loop", "oracle", [1, 1, 1], n_calls=5),
    ]
    (entry,) = comparing.compare(rows)
    assert (entry["ours"], entry["rival"]) == ("Anderson", "torchdeq: anderson")
    assert entry["ratio"]["median"] == 0.25  # of 2/8, 3/4, 2/8
    assert entry["ratios"]["Picard"]["median"] == 0.5
    # Ten calls of a fifth of a second each, of eight seconds.
    assert entry["rival_share_outside"] == pytest.approx(0.75)
    assert comparing.mean_ratio([entry, {"ratio": {"median": 4.0}}]) == pytest.approx(1.0)
    (other,) = comparing.compare(rows, {"plain loop"})
    assert (other["rival"], other["ratio"]["median"]) == ("plain loop: Picard", 0.2)
    (alone,) = comparing.compare(rows[3:4] + rows[4:5])
    assert (alone["ours"], alone["rival"]) == (None, "plain loop: Picard")


def test_targets_say_what_is_reached(part):
    entry = {"problem": "p", "goal": 1e-3, "ours": "Auto", "rival": "r: s"}
    content = {
        "forward": [
            {**entry, "ratio": {"median": 0.5}, "rival_share_outside": 0.6},
            {**entry, "ratio": {"median": 0.98}, "rival_share_outside": 0.4},
        ],
        "training_torchdeq": [{**entry, "ours": None}],
        "skewed_batch": [{"solver": "Picard", "iterations": [10, 100], "ratio": {"median": 0.41}}],
    }
    found = {line["target"]: line for line in part("targets").targets(content)}
    measured = {name: (line["measured"], line["reached"]) for name, line in found.items()}
    assert measured == {
        "forward solve / best rival, worst problem": (0.98, True),
        "the same, where over half of its time is outside G": (0.5, True),
        "the same, geometric mean": (pytest.approx(0.7), True),
        "training step / torchdeq, worst problem": (math.inf, False),
        "10 % slow samples, with / without compaction, Picard": (0.41, False),
    }
