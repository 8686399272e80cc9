"""Training steps of the same operator by torchdeq and by lit-implicit.

- torchdeq: `get_deq` with relative stops, `ift=True` for exact gradients and `grad=3, tau=0.8` for
  phantom ones; plain iteration, its Anderson at its defaults, both ways, and Anderson with a ridge
  that small residuals need (1e-8), with plain iteration backward: its ridge is absolute, and
  gradients are small.
- lit-implicit: `Equilibrium(operator, solver, adjoint)(x)`, `Implicit()` or `JacobianFree(3, 0.8)`.

One tolerance rules the forward and the backward solve. A step is encoding, solve, decoding, loss
and the gradients of all parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchdeq
from torch import Tensor
from torchdeq.solver import get_solver, register_solver

from flow_case import DAMPING, EXACT, STEPS, FlowCase
from lit_implicit import (
    Equilibrium,
    Implicit,
    JacobianFree,
)
from solvers_methods import OURS, SOLVERS, with_budget

RIVAL, MAX_ITER = "torchdeq", 500

Run = Callable[[], Any]

register_solver("anderson, ridge 1e-8", partial(get_solver("anderson"), lam=1e-8))

_PLAIN = "fixed_point_iter"
RIVALS = {
    _PLAIN: (_PLAIN, _PLAIN),
    "anderson": ("anderson", "anderson"),
    "anderson, ridge 1e-8": ("anderson, ridge 1e-8", _PLAIN),
}
"""Names of the forward and of the backward solver."""


@dataclass(frozen=True)
class Method:
    """A way to take a step.

    Args:
        library: Whose it is.
        name: What it is called.
        prepare: Given a tolerance, returns what is timed: gradients of all parameters.
    """

    library: str
    name: str
    prepare: Callable[[float], Run]

    @property
    def label(self) -> str:
        """Library and name."""
        return f"{self.library}: {self.name}"


def methods(case: FlowCase, kind: str) -> list[Method]:
    """Return the training steps with a kind of gradient."""
    rivals = [Method(RIVAL, name, partial(_rival_step, case, kind, name)) for name in RIVALS]
    ours = [Method(OURS, name, partial(_our_step, case, kind, name)) for name in SOLVERS]
    return rivals + ours


def _our_step(case: FlowCase, kind: str, name: str, rtol: float) -> Run:
    adjoint = Implicit() if kind == EXACT else JacobianFree(STEPS, DAMPING)
    layer = Equilibrium(case.operator, with_budget(SOLVERS[name], rtol, MAX_ITER), adjoint)
    return lambda: torch.autograd.grad(case.loss(layer(case.batch.x)[0]), case.parameters)


def _rival_step(case: FlowCase, kind: str, name: str, rtol: float) -> Run:
    forward, back = RIVALS[name]
    backward: dict[str, Any] = (
        {"ift": True, "b_solver": back, "b_max_iter": MAX_ITER, "b_tol": rtol, "b_stop_mode": "rel"}
        if kind == EXACT
        else {"ift": False, "grad": STEPS, "tau": DAMPING}
    )
    deq = torchdeq.get_deq(
        f_solver=forward, f_max_iter=MAX_ITER, f_tol=rtol, f_stop_mode="rel", **backward
    ).train()
    operator = case.operator

    def run() -> tuple[Tensor, ...]:
        c = operator.encode(case.batch.x)
        states, _ = deq(lambda z: operator(z, c), operator.init_state(c))
        return torch.autograd.grad(case.loss(operator.decode(states[-1], c)), case.parameters)

    return run
