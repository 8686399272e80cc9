"""Forward solves: each method to the same true error, its work counted, its time taken in turns."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from solvers_counting import WorkOutside, counted
from solvers_memory import peak_bytes
from solvers_methods import MAX_ITER, OURS, PLAIN, Method, Run, oracle
from solvers_picking import Ladder
from solvers_picking import reachable as reachable_goal
from solvers_problems import Problem
from solvers_timing import in_turns, quartiles, ratio

ORACLE = f"{PLAIN}: oracle"


def solve_ladder(problem: Problem, method: Method) -> Ladder:
    """Return the ladder of a method on a problem."""

    def attempt(rtol: float) -> tuple[float, int]:
        with counted(problem.operator) as calls:
            z = method.prepare(problem, rtol)()
        return problem.error(z), calls.n

    return Ladder(attempt, MAX_ITER)


def oracle_iterations(problem: Problem, goal: float, most: int = MAX_ITER) -> int | None:
    """Return the least number of plain iterations that reaches the goal; None if `most` do not."""
    z = problem.row
    with torch.no_grad():
        for k in range(1, most + 1):
            z = problem.f(z)
            if problem.error(z) <= goal:
                return k
    return None


def count(problem: Problem, run: Run) -> dict[str, Any]:
    """Return what one solve does: calls of G, and per call of G its work outside."""
    with counted(problem.operator) as calls, WorkOutside(calls, problem.z0.numel()) as work:
        z = run()
    return {
        "error": problem.error(z),
        "relative_residual": problem.residual(z),
        "n_calls": calls.n,
        "work": calls.work,
        "passes_per_iteration": work.n_passes / calls.n,
        "ops_per_iteration": work.n_ops / calls.n,
        "looks_per_iteration": work.n_looks / calls.n,
        "peak_bytes": peak_bytes(run, problem.device),
    }


def forward_rows(
    problem: Problem, methods: Sequence[Method], goals: Sequence[float], rounds: int
) -> list[dict[str, Any]]:
    """Return a row per method and goal; methods that miss the goal have no time."""
    ladders = [solve_ladder(problem, method) for method in methods]
    rows: list[dict[str, Any]] = []
    for wanted in goals:
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
        ours = [label for label in runs if label.startswith(OURS)]
        taken = in_turns(runs, problem.device, rounds, keep=ours)
        for method, ladder, trial in zip(methods, ladders, trials, strict=True):
            row = {
                "problem": problem.name, "goal": goal, "library": method.library,
                "method": method.name, "rtol": trial and trial.rtol,
            }  # fmt: skip
            if trial is None:
                best = ladder.best
                rows.append({**row, "failed": asdict(best), "seconds": None})
                continue
            times = taken[method.label]
            rows.append({**row, **count(problem, runs[method.label]), **_timed(times)})
        if n_oracle is not None:
            row = {"problem": problem.name, "goal": goal, "library": PLAIN, "method": "oracle"}
            rows.append({**row, **count(problem, runs[ORACLE]), **_timed(taken[ORACLE])})
    return rows


def _timed(times: list[float]) -> dict[str, Any]:
    return {"seconds": quartiles(times), "seconds_each": times}


def compare(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each problem and goal our best method, the best rival and their ratio.

    A rival is any library but ours, and the plain loop; not the oracle, which needs no test.
    """
    found = []
    for key in dict.fromkeys((row["problem"], row["goal"]) for row in rows):
        timed = [row for row in rows if (row["problem"], row["goal"]) == key and row["seconds"]]
        free = next((row for row in timed if row["method"] == "oracle"), None)
        ours = [row for row in timed if row["library"] == OURS]
        rivals = [row for row in timed if row["library"] != OURS and row is not free]
        entry: dict[str, Any] = {"problem": key[0], "goal": key[1], "ours": None, "rival": None}
        if ours:
            best = min(ours, key=_median)
            entry["ours"] = best["method"]
        if rivals:
            rival = min(rivals, key=_median)
            entry["rival"] = f"{rival['library']}: {rival['method']}"
            if free is not None:
                # Calls of G alone, as fast as a loop makes them.
                call = _median(free) / free["n_calls"]
                entry["rival_share_outside"] = max(
                    0.0, 1 - rival["n_calls"] * call / _median(rival)
                )
        if ours and rivals:
            entry["ratio"] = ratio(best["seconds_each"], rival["seconds_each"])
            entry["ratios"] = {
                row["method"]: ratio(row["seconds_each"], rival["seconds_each"]) for row in ours
            }
        found.append(entry)
    return found


def _median(row: dict[str, Any]) -> float:
    median: float = row["seconds"]["median"]
    return median
