"""Forward solves: each method to the same true error, its work counted, its time taken in turns."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from solvers_calls import Calls, at_most, counted, finite
from solvers_counting import WorkOutside
from solvers_memory import peak_bytes
from solvers_methods import MAX_ITER, OURS, PLAIN, Method, Run, heading, oracle
from solvers_picking import Hurry, Ladder
from solvers_picking import reachable as reachable_goal
from solvers_problems import Problem
from solvers_timing import in_turns, quartiles

ORACLE = "oracle: no test"
_COUNTED_CALLS = 40


def solve_ladder(
    problem: Problem, method: Method, hurry: Hurry, seen: dict[tuple[str, float], dict[str, Any]]
) -> Ladder:
    """Return the ladder of a method on a problem; `seen` gets the outcome of each trial."""

    def attempt(rtol: float) -> tuple[float, int]:
        with finite(problem.operator):
            found = outcome(problem, method.prepare(problem, rtol))
        seen[method.label, rtol] = found
        return found["error"], found["n_calls"]

    return Ladder(attempt, method.budget, hurry=hurry)


def oracle_iterations(problem: Problem, goal: float, most: int = MAX_ITER) -> int | None:
    """Return the least number of plain iterations that reaches the goal; None if `most` do not."""
    z = problem.row
    with torch.no_grad():
        for k in range(1, most + 1):
            z = problem.f(z)
            if problem.error(z) <= goal:
                return k
    return None


def outcome(problem: Problem, run: Run) -> dict[str, Any]:
    """Return how well one solve does, and its calls of G."""
    with counted(problem.operator) as calls:
        z = run()
    return {
        "error": problem.error(z),
        "relative_residual": problem.residual(z),
        "n_calls": calls.n,
        "work": calls.work,
    }


def cost(problem: Problem, run: Run) -> dict[str, Any]:
    """Return the work outside G per call of it, and the peak of memory.

    On a CPU, over the first calls of a solve: to look at each operation is slow.
    """
    operator, device = problem.operator, problem.device
    work = WorkOutside(Calls(), problem.z0.numel())

    def begin() -> None:
        with counted(operator) as work.calls, at_most(operator, _COUNTED_CALLS), work:
            run()

    peak = peak_bytes(begin if device.type == "cpu" else run, device)
    if device.type != "cpu":
        begin()
    n = work.calls.n
    return {
        "passes_per_iteration": work.n_passes / n,
        "ops_per_iteration": work.n_ops / n,
        "looks_per_iteration": work.n_looks / n,
        "peak_bytes": peak,
    }


def forward_rows(problem: Problem, methods: Sequence[Method], rounds: int) -> list[dict[str, Any]]:
    """Return a row per method and goal; methods that miss the goal have no time."""
    hurry = Hurry()
    seen: dict[tuple[str, float], dict[str, Any]] = {}
    ladders = [solve_ladder(problem, method, hurry, seen) for method in methods]
    rows: list[dict[str, Any]] = []
    costs: dict[str, dict[str, Any]] = {}  # they do not depend on the tolerance

    def measured(label: str) -> dict[str, Any]:
        if label not in costs:
            costs[label] = cost(problem, runs[label])
        return {**costs[label], **timed(taken[label])}

    for wanted in problem.goals:
        goal = reachable_goal(wanted, ladders)
        if any(row["goal"] == goal for row in rows):
            continue  # already loosened to it
        trials = [ladder.loosest(goal) for ladder in ladders]
        runs = {
            method.label: method.prepare(problem, trial.rtol)
            for method, trial in zip(methods, trials, strict=True)
            if trial is not None
        }
        n_oracle = oracle_iterations(problem, goal)
        if n_oracle is not None:
            runs[ORACLE] = oracle(problem, n_oracle)
        taken = in_turns(runs, problem.device, rounds, always=(OURS, "oracle"))
        for method, ladder, trial in zip(methods, ladders, trials, strict=True):
            row = heading(problem, goal, method, trial and trial.rtol)
            if trial is None:
                rows.append({**row, **missed(ladder)})
                continue
            rows.append({**row, **seen[method.label, trial.rtol], **measured(method.label)})
        if n_oracle is not None:
            row = {"problem": problem.name, "goal": goal, "library": PLAIN, "method": "oracle"}
            rows.append({**row, **outcome(problem, runs[ORACLE]), **measured(ORACLE)})
    return rows


def missed(ladder: Ladder) -> dict[str, Any]:
    """Return what is to say of a method that does not reach the goal."""
    return {"failed": asdict(ladder.best), "seconds": None}


def timed(times: list[float]) -> dict[str, Any]:
    """Return the times and their quartiles."""
    return {"seconds": quartiles(times), "seconds_each": times}
