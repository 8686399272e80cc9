"""Backpropagation through the iterations themselves."""

from dataclasses import dataclass, replace

import torch

from lit_implicit.adjoints.base import AbstractAdjoint
from lit_implicit.layout import Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import AbstractSolver, Evaluation, Solution, Status
from lit_implicit.solvers.progress import divergence_limit


@dataclass(frozen=True)
class Unrolled(AbstractAdjoint):
    """Take exactly the solver's `max_iter` steps, without a tolerance, and differentiate them.

    The solver must have steps that autograd can follow: `Picard`, `Anderson` (II), `Auto`.
    Memory grows with the number of differentiated steps. Derivatives of any order are right. The
    solver's tolerances only label the result: CONVERGED where the last residual meets them.

    Args:
        last: How many steps at the end are differentiated; None means all (backpropagation through
            time), fewer is its truncation. A budget that is shorter (`IterationBudget`) is
            differentiated whole.

    Raises:
        ValueError: If `last` is below 1, or the solver's steps cannot be differentiated.
    """

    last: int | None = None

    def __post_init__(self) -> None:
        if self.last is not None and self.last < 1:
            raise ValueError(
                f"`Unrolled.last` must be at least 1, got {self.last}. None differentiates all."
            )

    def check(self, solver: AbstractSolver) -> None:
        _check_steps(solver)
        # Not in `solve`: a budget that is drawn anew for each step may well be shorter.
        if self.last is not None and self.last > solver.max_iter:
            raise ValueError(
                f"`Unrolled.last` must be at most the solver's `max_iter`, {solver.max_iter}, got "
                f"{self.last}. Leave it out to differentiate all steps."
            )

    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        _check_steps(solver)
        solution = self._unroll(g, z0, solver)
        failed = solution.failed
        if not failed.any():
            return solution
        # A sample that failed must not enter the graph: unroll the sound ones again, alone, and
        # let the solver find the best finite iterate of the others.
        layout = g.layout
        best = solver.solve(g.select(failed), layout.select(z0, failed))
        z = layout.put(solution.z.detach(), failed, best.z)
        ratio = solution.relative_residual.index_put((failed,), best.relative_residual)
        if not failed.all():
            sound = self._unroll(g.select(~failed), layout.select(z0, ~failed), solver)
            z = layout.put(z, ~failed, sound.z)
        return replace(solution, z=z, relative_residual=ratio)

    def _unroll(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        layout, max_iter = g.layout, solver.max_iter
        tracked = torch.is_grad_enabled()
        first = 0 if self.last is None else max_iter - self.last
        stepper = solver.stepper(layout)
        z, limit = z0, layout.norm(z0.detach())
        for t in range(max_iter):
            with torch.set_grad_enabled(tracked and t >= first):
                at = Evaluation(layout, z, g(z))
                z = stepper.step(at)
            if t == 0:
                limit = divergence_limit(at.residual_norm, at.g_norm)

        with torch.no_grad():
            finite = (layout.norm(z) + at.g_norm + at.residual_norm).isfinite()
            n_iter = torch.full((layout.n,), max_iter, device=z.device)
            converged = at.meets(solver.rtol, solver.atol)
            status = torch.where(converged, Status.CONVERGED, Status.MAX_ITER)
            status = torch.where(at.residual_norm > limit, Status.DIVERGED, status)
            status = torch.where(finite, status, Status.NONFINITE)
        return Solution(z, n_iter, n_iter.clone(), at.relative_residual, status)


def _check_steps(solver: AbstractSolver) -> None:
    if not solver.differentiable_steps:
        raise ValueError(
            f"`Unrolled` cannot differentiate the steps of `{solver!r}`, whose memory is written "
            "in place. Use `Picard`, `Anderson` of type II or `Auto`, or the adjoint `Implicit`."
        )
