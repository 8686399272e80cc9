"""Methods of training steps: a solve whose state carries the exact, implicit gradient.

What is differentiated is the loss sum(v z*) for fixed weights v, in the parameters of G; the
encoded input is a constant. One tolerance rules the forward and the backward solve.

- lit-implicit: `adjoint.solve(g, z0, solver)`, as `Equilibrium` does, for each of our solvers, with
  `Implicit()`, whose backward solver is the forward's, and with `Implicit(GMRES())`.
- torchdeq: `get_deq(ift=True, ...)`, relative stops. Forward and backward by the same method, and
  Anderson forward with plain iteration backward; Anderson with ridge 1e-8 (registered under a name
  of its own, as the factory passes no settings on), Broyden with 20 steps. With `hook_ift=True`,
  which saves a call of G, where said.
- deepinv: `BaseOptim(DEQ=DEQConfig(...))`, backward by the same method.
- silva-networks: `solve_equilibrium(backward_mode="implicit")`, with its default GMRES (which sees
  the batch as one vector) and with the forward's method; G's parameters are listed, as it asks.
"""

from functools import partial
from typing import Any

from torch import Tensor

from lit_implicit import GMRES, AbstractSolver, Implicit
from solvers_methods import MAX_ITER, OURS, Method, Run, installed, our_solvers, with_budget
from solvers_problems import Problem


def gradient_methods() -> list[Method]:
    """Return all methods of the installed libraries; each returns a state that has a gradient."""
    found = [
        _ours(name, solver, gmres)
        for name, solver in our_solvers().items()
        for gmres in (False, True)
    ]
    return found + installed((_torchdeq, _deepinv, _silva))


def _ours(name: str, solver: AbstractSolver, gmres: bool) -> Method:
    def prepare(problem: Problem, rtol: float) -> Run:
        adjoint = Implicit(GMRES(rtol=rtol, max_iter=MAX_ITER) if gmres else None)
        chosen = with_budget(solver, rtol)
        return lambda: adjoint.solve(problem.g, problem.z0, chosen).z

    return Method(OURS, f"{name}, {'GMRES' if gmres else 'the same'}", prepare)


def _torchdeq() -> list[Method]:
    import torchdeq
    from torchdeq.solver import get_solver, register_solver

    register_solver("anderson 1e-8", partial(get_solver("anderson"), lam=1e-8))
    register_solver("broyden 20", partial(get_solver("broyden"), LBFGS_thres=20))

    def method(forward: str, backward: str, **more: Any) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            deq = torchdeq.get_deq(
                ift=not more, f_solver=forward, b_solver=backward, f_max_iter=MAX_ITER,
                b_max_iter=MAX_ITER, f_tol=rtol, b_tol=rtol, f_stop_mode="rel",
                b_stop_mode="rel", **more,
            ).train()  # fmt: skip
            return lambda: deq(problem.f, problem.row)[0][-1]

        name = forward if forward == backward else f"{forward}, {backward}"
        return Method("torchdeq", name + (", hook" if more else ""), prepare)

    plain, anderson = "fixed_point_iter", "anderson 1e-8"
    return [
        method(plain, plain),
        method(plain, plain, hook_ift=True),
        method("anderson", "anderson"),
        method(anderson, anderson),
        method(anderson, anderson, hook_ift=True),
        method(anderson, plain),
        method("broyden 20", "broyden 20"),
    ]


def _deepinv() -> list[Method]:
    from deepinv.optim.optimizers import DEQConfig

    from solvers_deepinv import model

    def method(name: str, ridge: float | None) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            settings = DEQConfig(
                max_iter_backward=MAX_ITER,
                anderson_acceleration_backward=ridge is not None,
                eps_backward=ridge or 0.0,
            )
            layer = model(problem, rtol, ridge, trainable_params=[], DEQ=settings).train()
            return lambda: layer(problem.row, None)  # type: ignore[no-any-return]

        return Method("deepinv", name, prepare)

    return [method("FixedPoint", None), method("Anderson, ridge 1e-8", 1e-8)]


def _silva() -> list[Method]:
    from silva_networks.solvers import solve_equilibrium

    from solvers_silva import config

    def method(solver: str, backward: str, **more: Any) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            chosen = config(
                solver, rtol, backward_mode="implicit", backward_solver=backward,
                backward_max_iter=100, backward_tol=rtol, backward_stop_mode="relative", **more,
            )  # fmt: skip
            tensors = [p for p in problem.operator.parameters() if p.requires_grad]

            def run() -> Tensor:
                z: Tensor = solve_equilibrium(problem.f, problem.row, chosen, tensors=tensors).z
                return z

            return run

        return Method("silva-networks", f"{solver}, {backward}", prepare)

    return [
        method("picard", "gmres"),
        method("anderson", "gmres", ridge=1e-8),
        method("anderson", "anderson", ridge=1e-8),
        method("broyden", "gmres"),
        method("broyden", "broyden"),
    ]
