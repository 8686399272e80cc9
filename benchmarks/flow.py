"""Compare training steps of the paper's implicit FNO with torchdeq: same weights, same flows.

    uv run --group peers python benchmarks/flow.py [--weights FILE] [--quick] [--output FILE]

The paper's operator on a batch of 32 flows, with exact gradients and with its phantom ones. Each
solver runs at the same tolerance as all others, and at the loosest of a fixed grid whose gradient
is near enough to the one from solves in float64. All take turns, and ratios are within a turn. G
are calls of the operator, vjp products with its Jacobian.

Weights come from a checkpoint of `lit-implicit fit`, and flows are drawn by the settings of its
run. Without one, flows have 32 x 32 points, the operator has width 16 and 8 modes, its weights are
drawn, and the lifting is scaled so that plain iteration converges. On a busy machine, `--clock cpu`
counts the seconds of the processor that this process has in place of those that pass.
"""

import argparse
import os
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from flow_case import EXACT, PHANTOM, FlowCase, data_of, trained, untrained
from flow_methods import MAX_ITER, RIVAL, Method, methods
from flow_report import step_table, targets
from lit_implicit.reporting.report import count_parameters, environment, write_json
from lit_implicit.tree import map_tensors
from lit_implicit_flow.batch import FlowBatch, FlowInput
from lit_implicit_flow.data import FlowDataModule
from lit_implicit_flow.equation import force_of
from lit_implicit_flow.fno import FlowFNO
from solvers_calls import counted
from solvers_forward import missed, timed
from solvers_methods import OURS
from solvers_picking import Hurry, Ladder, reachable
from solvers_report import console, target_table
from solvers_timing import CLOCKS, in_turns

RTOL, GOAL = 1e-3, 1e-2
"""The common tolerance, and the error of the gradient to reach."""


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what a second is")
    parser.add_argument("--quick", action="store_true", help="tiny, one turn: a trial run")
    parser.add_argument("--weights", type=Path, help="checkpoint")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    given = parser.parse_args(args)
    torch.set_num_threads(given.threads)
    out, load_average = console(), [os.getloadavg()[0]]
    data, n_rounds = _data(given), 1 if given.quick else given.rounds
    case = _case(given, data)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchdeq's own
        for kind in (EXACT, PHANTOM):
            found = step_rows(case, kind, n_rounds, given.clock)
            out.print(step_table(found))
            rows += found
    load_average.append(os.getloadavg()[0])
    where = environment(torch.device(given.device))
    where["versions"][RIVAL] = version(RIVAL)
    content: dict[str, Any] = {
        "date": date.today().isoformat(), **where, "threads": given.threads,
        "rounds": n_rounds, "quick": given.quick, "clock": given.clock,
        "load_average": load_average, "points": case.batch.x.force.shape[-1],
        "batch_size": len(case.batch.index), "nu": data.nu,
        "weights": "trained" if given.weights else "drawn, lifting scaled",
        "parameters": count_parameters(case.operator), "spectral_radius": case.spectral_radius,
        "rows": rows, "targets": targets(rows),
    }  # fmt: skip
    out.print(target_table(content["targets"]))
    out.print(f"{where['device']}, {given.threads} threads, {given.clock} seconds; load average "
              f"{load_average[0]:.1f} before, {load_average[1]:.1f} after")  # fmt: skip
    if given.output is not None:
        write_json(content, given.output)
        out.print(str(given.output))
    return content


def _data(given: argparse.Namespace) -> FlowDataModule:
    """Return what says which flows are drawn, and their units: a checkpoint's are its run's."""
    if given.weights is not None:
        return data_of(given.weights)
    side, most = (16, 3) if given.quick else (32, 5)
    return FlowDataModule(resolution=side, max_wavenumber=most)


def _case(given: argparse.Namespace, data: FlowDataModule) -> FlowCase:
    torch.manual_seed(0)
    n, scales = 2 if given.quick else 32, data.scales
    w = data.vorticity_rms * data.family.draw(data.resolution, 0, 2, range(n))
    numbers = (data.nu, scales.force, scales.vorticity)
    x = FlowInput(
        force_of(w, data.nu) / scales.force, *(torch.full((n,), number) for number in numbers)
    )
    batch = FlowBatch(x, w[:, None] / scales.vorticity, torch.arange(n))
    batch = map_tensors(lambda t: t.float() if t.is_floating_point() else t, batch)
    batch = map_tensors(lambda t: t.to(given.device), batch)
    if given.weights is not None:
        return FlowCase(trained(given.weights).to(given.device), batch)
    size = {"width": 4, "modes": 4} if given.quick else {"width": 16, "modes": 8}
    operator = FlowFNO(**size, padding=0, positions=False).to(given.device)
    return FlowCase(untrained(operator, batch), batch)


def step_rows(case: FlowCase, kind: str, rounds: int, clock: str) -> list[dict[str, Any]]:
    """Return two rows per method: at the common tolerance, and at the one that its error needs."""
    hurry, chosen = Hurry(), methods(case, kind)
    ladders = [_ladder(case, kind, method, hurry) for method in chosen]
    goal = reachable(GOAL, ladders)
    steps: dict[tuple[str, str], tuple[Method, float]] = {}
    lost: list[dict[str, Any]] = []
    for method, ladder in zip(chosen, ladders, strict=True):
        steps["same tolerance", method.label] = method, RTOL
        if (trial := ladder.loosest(goal)) is None:
            lost.append({**_heading("same error", kind, goal, method, None), **missed(ladder)})
        else:
            steps["same error", method.label] = method, trial.rtol
    runs = {key: method.prepare(rtol) for key, (method, rtol) in steps.items()}
    taken: dict[tuple[str, str], list[float]] = {}
    for part in dict.fromkeys(part for part, _ in steps):  # each measured by its own fastest
        here = {label: run for (of, label), run in runs.items() if of == part}
        found = in_turns(here, case.batch.index.device, rounds, always=(OURS, RIVAL), clock=clock)
        taken |= {(part, label): each for label, each in found.items()}
    rows = []
    for (part, label), (method, rtol) in steps.items():
        with counted(case.operator) as calls:
            error = case.gradient_error(runs[part, label](), kind)
        rows.append({
            **_heading(part, kind, goal, method, rtol), "error": error, "n_calls": calls.n,
            "n_vjp": calls.n_vjp, **timed(taken[part, label]),
        })  # fmt: skip
    return sorted(rows + lost, key=lambda row: str(row["part"]), reverse=True)


def _heading(
    part: str, kind: str, goal: float, method: Method, rtol: float | None
) -> dict[str, Any]:
    return {"part": part, "gradient": kind, "goal": goal, "library": method.library,
            "method": method.name, "rtol": rtol}  # fmt: skip


def _ladder(case: FlowCase, kind: str, method: Method, hurry: Hurry) -> Ladder:
    def attempt(rtol: float) -> tuple[float, int]:
        with counted(case.operator) as calls:
            error = case.gradient_error(method.prepare(rtol)(), kind)
        return error, max(calls.n, calls.n_vjp)

    return Ladder(attempt, MAX_ITER, hurry=hurry)


if __name__ == "__main__":
    main()
