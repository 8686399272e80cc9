"""deepinv, as the benchmark of solvers calls it."""

from typing import Any

import torch
from deepinv.optim import BaseOptim, OptimIterator
from deepinv.optim.optimizers import AndersonAccelerationConfig
from torch import Tensor

from solvers_methods import MAX_ITER, Method, Run
from solvers_problems import Problem

NAME = "deepinv"


class Step(OptimIterator):
    """One iteration, z -> G(z)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.f = problem.f

    def forward(self, X: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"est": (self.f(X["est"][0]),), "cost": None}


def methods() -> list[Method]:
    """Return its methods."""
    return [
        _method("FixedPoint", None),
        _method("Anderson, ridge 1e-4", 1e-4),
        _method("Anderson, ridge 1e-8", 1e-8),
    ]


def model(problem: Problem, rtol: float, ridge: float | None, **more: Any) -> Any:
    """Return its solver around G."""
    anderson = False if ridge is None else AndersonAccelerationConfig(5, 1.0, ridge)
    return BaseOptim(
        Step(problem), params_algo={"stepsize": 1.0, "lambda": 1.0, "beta": 1.0},
        max_iter=MAX_ITER, crit_conv="residual", thres_conv=rtol, early_stop=True,
        custom_init=lambda y, physics: {"est": (problem.row,)},
        anderson_acceleration=anderson, **more,
    )  # fmt: skip


def _method(name: str, ridge: float | None) -> Method:
    def prepare(problem: Problem, rtol: float) -> Run:
        solver = model(problem, rtol, ridge)

        @torch.no_grad()
        def run() -> Tensor:
            z: Tensor = solver(problem.row, None)
            return z

        return run

    return Method(NAME, name, prepare)
