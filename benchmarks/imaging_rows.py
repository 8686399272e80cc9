"""Measure training steps, evaluations and the memory of steps; a row for each."""

from collections.abc import Callable, Sequence
from typing import Any

from imaging_case import IMPLICIT, Case
from imaging_methods import (
    MAX_ITER,
    N_FORWARD,
    RIVAL,
    Method,
    deepinv_step,
    evaluation_methods,
    our_step,
    paper_adjoint,
    training_methods,
)
from solvers_calls import counted
from solvers_forward import missed, timed
from solvers_memory import peak_bytes
from solvers_methods import OURS, SOLVERS, with_budget
from solvers_picking import Hurry, Ladder
from solvers_timing import in_turns, ratio

PSNR_GOAL = 0.01
"""dB, by which the PSNR of any image may differ."""

_ROUNDING = 1e-4
"""No gradient is asked to be nearer to the exact one: float32 rounds as much."""

FEW = 5
"""Forward iterations of the step that the memory of 100 is compared with."""


def training_rows(case: Case, kind: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row per training step; tolerances are the loosest as accurate as the first."""

    def measure(run: Any) -> dict[str, float]:
        return {"error": case.gradient_error(run(), kind)}

    methods = training_methods(case, kind)
    reached = measure(methods[0].prepare(0.0))["error"]
    return _rows(case, f"training, {kind}", methods, measure, max(reached, _ROUNDING), rounds)


def evaluation_rows(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Return a row per evaluation; tolerances are the loosest of nearly the same PSNR.

    The error is the largest over the images, to the first method and to the fixed point.
    """
    methods = evaluation_methods(case)
    rival, exact = case.psnr(methods[0].prepare(0.0)()), case.psnr(case.z_star)

    def measure(run: Any) -> dict[str, float]:
        found = case.psnr(run().detach())
        apart = max(float((found - other).abs().max()) for other in (rival, exact))
        return {"error": apart, "psnr": float(found.mean())}

    return _rows(case, "evaluation", methods, measure, PSNR_GOAL, rounds)


def _rows(
    case: Case,
    part: str,
    methods: Sequence[Method],
    measure: Callable[[Any], dict[str, float]],
    goal: float,
    rounds: int,
) -> list[dict[str, Any]]:
    """Find each method's tolerance, time all in turns, count and compare."""
    hurry, ladders, trials = Hurry(), {}, {}
    for method in reversed(methods):  # the fastest tell the slow when to give up
        ladders[method.label] = ladder = _ladder(case, method, measure, hurry)
        trials[method.label] = None if method.fixed else ladder.loosest(goal)
    runs = {}
    for method in methods:
        trial = trials[method.label]
        if method.fixed or trial is not None:
            runs[method.label] = method.prepare(0.0 if trial is None else trial.rtol)
    taken = in_turns(runs, case.device, rounds, factor=float("inf"))
    rows = []
    for method in methods:
        trial = trials[method.label]
        row = {
            "problem": case.name, "part": part, "goal": goal, "library": method.library,
            "method": method.name, "fixed": method.fixed, "rtol": trial and trial.rtol,
        }  # fmt: skip
        if method.label not in runs:
            rows.append({**row, **missed(ladders[method.label])})
            continue
        run, times = runs[method.label], taken[method.label]
        with counted(case.operator.denoiser) as calls:
            quality = measure(run)
        rows.append({
            **row, **quality, "n_calls": calls.n, "n_vjp": calls.n_vjp,
            "peak_bytes": peak_bytes(run, case.device), **timed(times),
            "ratio": ratio(times, taken[methods[0].label]),
        })  # fmt: skip
    return rows


def _ladder(
    case: Case, method: Method, measure: Callable[[Any], dict[str, float]], hurry: Hurry
) -> Ladder:
    def attempt(rtol: float) -> tuple[float, int]:
        with counted(case.operator.denoiser) as calls:
            error = measure(method.prepare(rtol))["error"]
        return error, max(calls.n, calls.n_vjp)

    return Ladder(attempt, MAX_ITER, hurry=hurry)


def memory_rows(case: Case) -> list[dict[str, Any]]:
    """Return the most bytes that a training step of few and of 100 iterations holds at once.

    Backward solves are those of the paper's settings. An `Anderson` or `Auto` there remembers
    states beside the graph, which the column MiB of the training steps shows.
    """

    def ours(name: str) -> Callable[[int], Any]:
        return lambda n: our_step(case, with_budget(SOLVERS[name], 0.0, n), paper_adjoint(IMPLICIT))

    steps: list[tuple[str, str, Callable[[int], Any]]] = [
        (RIVAL, "plain", lambda n: deepinv_step(case, IMPLICIT, n)),
        *((OURS, name, ours(name)) for name in SOLVERS),
    ]
    rows = []
    for library, name, step in steps:
        peaks = [peak_bytes(step(n), case.device) for n in (FEW, N_FORWARD)]
        rows.append({
            "problem": case.name, "library": library, "method": name, "bytes": peaks,
            "ratio": peaks[1] / peaks[0],
        })  # fmt: skip
    return rows
