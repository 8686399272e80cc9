"""Evaluation: whole models without gradients, by the layer that each library gives its users.

Each model is `encode`, the layer, `decode`. The layer is told the tolerance that reaches the goal.

- lit-implicit: `Equilibrium(operator, solver)(x)`.
- torchdeq: `get_deq(...).eval()(f, z0)`. deepinv: `BaseOptim(DEQ=DEQConfig())`, evaluation mode.
  silva-networks: `solve_equilibrium` with the mode it would train with. Plain loop: itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit import AbstractSolver, Equilibrium
from solvers_calls import counted, finite
from solvers_forward import missed, timed
from solvers_methods import (
    MAX_ITER,
    OURS,
    PLAIN,
    Method,
    Run,
    heading,
    installed,
    our_solvers,
    plain_picard,
    with_budget,
)
from solvers_picking import Hurry, Ladder, reachable
from solvers_problems import Problem
from solvers_timing import in_turns


def evaluation_methods() -> list[Method]:
    """Return the layers of all installed libraries."""
    found = [_ours(name, solver) for name, solver in our_solvers().items()]
    found.append(Method(PLAIN, "Picard", plain_picard))
    return found + installed((_torchdeq, _deepinv, _silva))


def _ours(name: str, solver: AbstractSolver) -> Method:
    def prepare(problem: Problem, rtol: float) -> Run:
        layer = Equilibrium(problem.operator, with_budget(solver, rtol))
        return lambda: layer(problem.x)[1].z

    return Method(OURS, f"Equilibrium, {name}", prepare)


def _torchdeq() -> list[Method]:
    import torchdeq

    def method(solver: str, **settings: Any) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            deq = torchdeq.get_deq(
                ift=True, f_solver=solver, f_max_iter=MAX_ITER, f_tol=rtol, f_stop_mode="rel"
            ).eval()
            return lambda: deq(problem.f, problem.row, solver_kwargs=dict(settings))[0][-1]

        return Method("torchdeq", f"get_deq, {solver}", prepare)

    return [
        method("fixed_point_iter"),
        method("anderson", lam=1e-8),
        method("broyden", LBFGS_thres=20),
    ]


def _deepinv() -> list[Method]:
    from deepinv.optim.optimizers import DEQConfig

    from solvers_deepinv import model

    def method(name: str, ridge: float | None) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            layer = model(problem, rtol, ridge, trainable_params=[], DEQ=DEQConfig()).eval()
            return lambda: layer(problem.row, None)  # type: ignore[no-any-return]

        return Method("deepinv", f"BaseOptim(DEQ), {name}", prepare)

    return [method("FixedPoint", None), method("Anderson", 1e-8)]


def _silva() -> list[Method]:
    from silva_networks.solvers import solve_equilibrium

    from solvers_silva import config

    def method(solver: str, **settings: Any) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            chosen = config(solver, rtol, backward_mode="implicit", **settings)
            tensors = list(problem.operator.parameters())

            def run() -> Tensor:
                z: Tensor = solve_equilibrium(problem.f, problem.row, chosen, tensors=tensors).z
                return z

            return run

        return Method("silva-networks", f"solve_equilibrium, {solver}", prepare)

    return [method("picard"), method("anderson", ridge=1e-8), method("broyden")]


def evaluation_rows(
    problem: Problem, methods: Sequence[Method], goal: float, rounds: int
) -> list[dict[str, Any]]:
    """Return a row per layer: calls of G and time, encoding and reading included."""

    def model(method: Method, rtol: float) -> Run:
        layer = method.prepare(problem, rtol)
        if method.library == OURS:  # encodes and decodes by itself
            return torch.no_grad()(layer)

        @torch.no_grad()
        def run() -> Tensor:
            c = problem.operator.encode(problem.x)
            z = layer()
            problem.operator.decode(z.reshape(problem.z0.shape), c)
            return z

        return run

    def ladder(method: Method) -> Ladder:
        def attempt(rtol: float) -> tuple[float, int]:
            with counted(problem.operator) as calls, finite(problem.operator):
                z = model(method, rtol)()
            return problem.error(z), calls.n

        return Ladder(attempt, method.budget, hurry=hurry)

    hurry = Hurry()
    ladders = [ladder(method) for method in methods]
    goal = reachable(goal, ladders)
    trials = [made.loosest(goal) for made in ladders]
    runs = {
        method.label: model(method, trial.rtol)
        for method, trial in zip(methods, trials, strict=True)
        if trial is not None
    }
    taken = in_turns(runs, problem.device, rounds, always=(OURS,))
    rows = []
    for method, made, trial in zip(methods, ladders, trials, strict=True):
        row = heading(problem, goal, method, trial and trial.rtol)
        if trial is None:
            rows.append({**row, **missed(made)})
            continue
        counts = {"error": trial.error, "n_calls": trial.n_calls}
        rows.append({**row, **counts, **timed(taken[method.label])})
    return rows
