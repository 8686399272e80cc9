"""Training steps and evaluations of the same model, by deepinv and by lit-implicit.

- deepinv: `HQS` or `PGD` with `unfold=True, DEQ=DEQConfig(...)` and the same denoiser object. The
  paper's settings are 100 plain iterations forward, all of them, and at most 20 backward, which end
  at a relative step of 1e-5. `early_stop` is its stop by a relative step, for a fair look at what
  the library can do by itself. Its physics, `BlurFFT`, is made before the clock runs.
- lit-implicit: `Equilibrium(operator, solver, adjoint)(x)`. The clock sees `encode`, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from deepinv.optim import HQS, L2, PGD, DEQConfig
from deepinv.optim.prior import PnP
from deepinv.physics import BlurFFT
from torch import Tensor

from imaging_case import IMPLICIT, Case
from lit_implicit import (
    AbstractSolver,
    Equilibrium,
    Implicit,
    JacobianFree,
    Picard,
)
from solvers_methods import OURS, SOLVERS, with_budget

RIVAL, MAX_ITER = "deepinv", 500
N_FORWARD, N_BACKWARD, BACKWARD_RTOL = 100, 20, 1e-5
"""The paper's settings."""

EARLY = (RIVAL, "early stop")

Run = Callable[[], Any]


@dataclass(frozen=True)
class Method:
    """A way to take a step, or to restore.

    Args:
        library: Whose it is.
        name: What it is called.
        prepare: Given a tolerance, returns what is timed.
        fixed: Whether it has settings of its own and no use for a tolerance.
    """

    library: str
    name: str
    prepare: Callable[[float], Run]
    fixed: bool = False

    @property
    def label(self) -> str:
        """Library and name."""
        return f"{self.library}: {self.name}"


def deepinv_model(case: Case, n_iter: int, **settings: Any) -> Any:
    """Return deepinv's equilibrium model with the operator's denoiser and numbers."""
    operator = case.operator
    kind = {"ImagingHQS": HQS, "ImagingPGD": PGD}[type(operator).__name__]
    model = kind(
        data_fidelity=L2(), prior=PnP(denoiser=operator.denoiser), max_iter=n_iter,
        stepsize=float(operator.log_stepsize.exp()), sigma_denoiser=float(operator.log_sigma.exp()),
        unfold=True, trainable_params=["stepsize", "g_param"], **settings,
    )  # fmt: skip
    return model.to(case.device)


def deepinv_answer(case: Case, model: Any) -> Callable[[], Tensor]:
    """Return the call of a model of deepinv's on the batch, from the operator's start."""
    x = case.batch.x
    physics = BlurFFT(tuple(x.observation.shape[1:]), filter=x.kernel[:1], device=case.device)
    start = Equilibrium(case.operator).bind(x)[1]
    return lambda: model(x.observation, physics, init=start)  # type: ignore[no-any-return]


def deepinv_step(
    case: Case,
    kind: str,
    n_iter: int = N_FORWARD,
    n_backward: int = N_BACKWARD,
    rtol: float = BACKWARD_RTOL,
    early_stop: bool = False,
) -> Run:
    """Return a training step of deepinv's."""
    deq = DEQConfig(jacobian_free=kind != IMPLICIT, max_iter_backward=n_backward)
    model = deepinv_model(
        case, n_iter, DEQ=deq, early_stop=early_stop, crit_conv="residual", thres_conv=rtol
    ).train()
    (stepsize,), (sigma,) = model.params_algo["stepsize"], model.params_algo["g_param"]
    parameters = [stepsize, sigma, *case.operator.denoiser.parameters()]
    answer = deepinv_answer(case, model)

    def run() -> list[Tensor]:
        by_stepsize, by_sigma, *rest = torch.autograd.grad(case.loss(answer()), parameters)
        # Of the logarithms, as ours: d/d log s = s d/ds.
        return [stepsize.detach() * by_stepsize, sigma.detach() * by_sigma, *rest]

    return run


def our_step(case: Case, solver: AbstractSolver, adjoint: Any) -> Run:
    """Return a training step of ours."""
    layer = Equilibrium(case.operator, solver, adjoint)
    return lambda: torch.autograd.grad(case.loss(layer(case.batch.x)[0]), case.parameters)


def paper_solver(n_iter: int = N_FORWARD) -> Picard:
    """Return all of the plain iterations, without a tolerance."""
    return Picard(rtol=0.0, max_iter=n_iter)


def paper_adjoint(kind: str) -> Any:
    """Return the adjoint of the paper's settings."""
    backward = Picard(rtol=BACKWARD_RTOL, max_iter=N_BACKWARD)
    return Implicit(backward) if kind == IMPLICIT else JacobianFree()


def training_methods(case: Case, kind: str) -> list[Method]:
    """Return the training steps with a kind of gradient; the first is what others are held to.

    One tolerance rules the forward and the backward solve.
    """
    adjoint = Implicit() if kind == IMPLICIT else JacobianFree()

    def ours(name: str, solver: AbstractSolver) -> Method:
        return Method(
            OURS, name, lambda rtol: our_step(case, with_budget(solver, rtol, MAX_ITER), adjoint)
        )

    return [
        Method(RIVAL, "paper's settings", lambda _: deepinv_step(case, kind), True),
        Method(*EARLY, lambda rtol: deepinv_step(
            case, kind, MAX_ITER, MAX_ITER, rtol, early_stop=True)),
        Method(OURS, "paper's settings",
               lambda _: our_step(case, paper_solver(), paper_adjoint(kind)), True),
        *(ours(name, solver) for name, solver in SOLVERS.items()),
    ]  # fmt: skip


def evaluation_methods(case: Case) -> list[Method]:
    """Return the evaluations; the first is what others are held to."""

    def rival(n_iter: int, rtol: float = BACKWARD_RTOL, early_stop: bool = False) -> Run:
        model = deepinv_model(
            case, n_iter, DEQ=DEQConfig(), early_stop=early_stop, crit_conv="residual",
            thres_conv=rtol,
        )  # fmt: skip
        return deepinv_answer(case, model.eval())

    def ours(solver: AbstractSolver) -> Run:
        layer = Equilibrium(case.operator, solver).eval()
        return lambda: layer(case.batch.x)[0]

    def method(name: str, solver: AbstractSolver) -> Method:
        return Method(OURS, name, lambda rtol: _still(ours(with_budget(solver, rtol, MAX_ITER))))

    return [
        Method(RIVAL, "paper's settings", lambda _: _still(rival(N_FORWARD)), True),
        Method(RIVAL, "the same, without no_grad", lambda _: rival(N_FORWARD), True),
        Method(*EARLY, lambda rtol: _still(rival(MAX_ITER, rtol, True))),
        Method(OURS, "paper's settings", lambda _: _still(ours(paper_solver())), True),
        *(method(name, solver) for name, solver in SOLVERS.items()),
    ]


def _still(run: Run) -> Run:
    return torch.no_grad()(run)  # type: ignore[no-any-return]
