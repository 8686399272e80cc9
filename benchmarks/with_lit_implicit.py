"""lit-implicit by its public names."""

from typing import Any

import torch
from torch import Tensor

import lit_implicit as li
from problem import Answer, Map

NAME, VERSION = "lit-implicit", li.__version__
SOLVERS = {"picard": li.Picard, "anderson": li.Anderson, "broyden": li.Broyden}


class Operator(li.AbstractOperator):
    """A map with its parameters as they are: captured tensors."""

    def __init__(self, g: Map) -> None:
        super().__init__()
        self.g, self.part = g, g.module

    def init_state(self, c: Any, generator: Any = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Any) -> Tensor:
        return self.g(z, c)


def _layer(g: Map, method: str, settings: Any, adjoint: Any) -> Any:
    return li.Equilibrium(Operator(g), SOLVERS[method](**settings), adjoint)


def solve(g: Map, method: str, rtol: float, max_iter: int) -> Answer:
    """Solve without gradients."""
    with torch.no_grad():
        z, _ = _layer(g, method, {"rtol": rtol, "max_iter": max_iter}, None)(g.x)
    return Answer(z)


def train(
    g: Map, method: str, rtol: float, max_iter: int, max_backward: int, order: int = 1
) -> Answer:
    """Solve with exact implicit gradients."""
    backward = SOLVERS[method](rtol=rtol, max_iter=max_backward)
    settings = {"rtol": rtol, "max_iter": max_iter}
    z, solution = _layer(g, method, settings, li.Implicit(backward, order))(g.x)

    def report() -> bool | None:
        return bool((solution.adjoint.status == 0).all())

    return Answer(z, report)


def unknown_keyword() -> None:
    """Set what does not exist."""
    li.Anderson(no_such_setting=3)  # type: ignore[call-arg]
