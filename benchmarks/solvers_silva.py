"""silva-networks, as the benchmark of solvers calls it."""

from typing import Any

import torch
from silva_networks.solvers import SolverConfig, fixed_point
from torch import Tensor

from solvers_methods import MAX_ITER, Method, Run
from solvers_problems import Problem

NAME = "silva-networks"


def methods() -> list[Method]:
    """Return its methods."""
    return [
        _method("picard", "picard"),
        _method("anderson", "anderson"),
        _method("anderson, ridge 1e-8", "anderson", ridge=1e-8),
        _method("broyden", "broyden"),
        _method("broyden, 20 steps", "broyden", history=20),
    ]


def config(solver: str, rtol: float, **more: Any) -> Any:
    """Return its settings."""
    # Its Anderson knows of samples if told so; the others refuse or ignore the setting.
    return SolverConfig(
        solver=solver, max_iter=MAX_ITER, tol=rtol, stop_mode="relative",
        anderson_batch_dims=int(solver == "anderson"), **more,
    )  # fmt: skip


def _method(name: str, solver: str, **settings: Any) -> Method:
    def prepare(problem: Problem, rtol: float) -> Run:
        chosen = config(solver, rtol, **settings)

        @torch.no_grad()
        def run() -> Tensor:
            z: Tensor = fixed_point(problem.f, problem.row, chosen).z
            return z

        return run

    return Method(NAME, name, prepare)
