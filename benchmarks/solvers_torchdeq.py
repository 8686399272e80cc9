"""torchdeq, as the benchmark of solvers calls it."""

from typing import Any

import torch
from torch import Tensor
from torchdeq.solver import get_solver

from solvers_methods import MAX_ITER, Method, Run
from solvers_problems import Problem

NAME = "torchdeq"
BROYDEN_BUDGET = 100
"""Its Broyden takes memory for all of its budget: two states an iteration."""


def methods() -> list[Method]:
    """Return its methods."""
    return [
        _method("fixed_point_iter", "fixed_point_iter"),
        _method("anderson", "anderson"),
        _method("anderson, lam 1e-8", "anderson", lam=1e-8),
        _method("broyden", "broyden", max_iter=BROYDEN_BUDGET),
        _method("broyden, 20 steps", "broyden", LBFGS_thres=20),
    ]


def _method(name: str, solver: str, max_iter: int = MAX_ITER, **settings: Any) -> Method:
    function = get_solver(solver)

    def prepare(problem: Problem, rtol: float) -> Run:
        @torch.no_grad()
        def run() -> Tensor:
            z: Tensor = function(
                problem.f, problem.row, max_iter=max_iter, tol=rtol, stop_mode="rel", **settings
            )[0]
            return z

        return run

    return Method(NAME, name, prepare, max_iter)
