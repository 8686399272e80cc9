"""Where the samples of a batch stand in a solve: what they answered, and what they may still."""

from dataclasses import dataclass

import torch

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real
from lit_implicit.solvers.best import BestIterates
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.solution import Solution, Status, relative_residual

# A residual this many times larger than the first one, G(z0) and one (states are of order one, and
# a start at zero may be far from there) together is no transient.
_DIVERGENCE_FACTOR = 1e6


@dataclass(eq=False)
class Step:
    """One iteration of the samples that a solve goes on with.

    Args:
        number: Which iteration, from 0.
        at: The evaluation at its iterate.
        z_next: The iterate after it.
        reason: Samples that the map wants to stop, shape `(n,)`; None where it was not asked.
    """

    number: int
    at: Evaluation
    z_next: Real
    reason: Mask | None


class Progress:
    """The record of a solve, kept on the CPU: who goes on, and the outcome of those who do not.

    Steps are taken in after the fact, a few at a time on a GPU. A sample that has stopped may so
    have gone on for some steps, and goes on until the batch is narrowed: nobody looks at it again.
    In this way no step waits for the device, and none copies a state to freeze a part of it.

    Args:
        layout: How the samples lie in a state.
        z0: The initial iterate.
        rtol: Relative residual at which a sample stops.
        atol: Residual at which a sample stops.
    """

    def __init__(self, layout: AbstractLayout, z0: Real, rtol: float, atol: float) -> None:
        n = layout.n
        self.whole, self.layout, self.rtol, self.atol = layout, layout, rtol, atol
        self.z0, self.answer = z0, z0
        self.owns_answer = False
        self.n_iter, self.status = torch.zeros(n, dtype=torch.int64), torch.full((n,), -1)
        self.last = torch.full((n,), torch.inf, dtype=layout.norm(z0).dtype)
        # Of the samples that the solve goes on with:
        self.index = torch.arange(n)
        self.active = torch.ones(n, dtype=torch.bool)
        self.n_active = n
        self.limit = self.ratio = self.last
        self.best = BestIterates(layout, z0)

    def take(self, steps: list[Step]) -> None:
        """Take in the next iterations, in their order. On a GPU this waits for the device."""
        norms = [torch.stack([step.at.residual_norm, step.at.g_norm]) for step in steps]
        for step, (residual, g) in zip(steps, torch.stack(norms).cpu(), strict=True):
            self._take(step, residual, g)

    def _take(self, step: Step, residual: PerSample, g: PerSample) -> None:
        if step.number == 0:
            self.limit = divergence_limit(residual, g)
        self.ratio = relative_residual(residual, g)
        # Written so that NaN is out.
        going = (residual > self.rtol * g + self.atol) & (residual <= self.limit)
        if step.reason is not None:
            going = going & ~step.reason.cpu()
        stopped = self.active & ~going
        self.best.take(step.number, step.at.z, self.ratio, self.active)
        if not stopped.any():
            return
        finite = self.ratio.isfinite()
        diverged = residual > self.limit
        failed = stopped & (~finite | diverged)
        self._answer(stopped & ~failed, Status.CONVERGED, step.number, step.z_next, self.ratio)
        if failed.any():
            state, ratio = self.best.of(failed), self.best.ratio
            self._answer(failed & finite, Status.DIVERGED, step.number, state, ratio)
            self._answer(failed & ~finite, Status.NONFINITE, step.number, state, ratio)
        self.active = self.active & ~stopped
        self.n_active = int(self.active.sum())

    def _answer(self, mask: Mask, status: Status, number: int, z: Real, ratio: PerSample) -> None:
        """Note the outcome of the samples in `mask`, whose answer is their part of `z`."""
        if not mask.any():
            return
        where = self.index[mask]
        self.n_iter[where], self.status[where] = number + 1, int(status)
        self.last[where] = ratio[mask]
        if len(where) == self.whole.n:
            self.answer = z
            return
        if not self.owns_answer:
            self.answer, self.owns_answer = self.z0.clone(), True
        whole = torch.zeros(self.whole.n, dtype=torch.bool)
        whole[where] = True
        device = z.device
        part = self.layout.select(z, mask.to(device))
        self.answer = self.whole.put(self.answer, whole.to(device), part)

    def frozen(self, z: Real) -> Real:
        """Return `z` of the whole batch with the answers of those who have stopped."""
        return self.layout.where(self.active.to(z.device), z, self.answer)

    def narrow(self) -> Mask:
        """Go on with the active samples alone; return which of the present ones they are."""
        keep = self.active
        on_device = keep.to(self.z0.device)
        self.best = self.best.select(keep)
        self.index, self.limit, self.ratio = self.index[keep], self.limit[keep], self.ratio[keep]
        self.layout, self.active = self.layout.sub(on_device), self.active[keep]
        return on_device

    def solution(self, number: int, z: Real) -> Solution:
        """Return the outcome, given the number of the last iteration and the iterate after it."""
        self._answer(self.active, Status.MAX_ITER, number, z, self.ratio)
        n_iter, last, status = (
            values.to(z.device) for values in (self.n_iter, self.last, self.status)
        )
        return Solution(self.answer, n_iter, n_iter.clone(), last, status)


def divergence_limit(residual_norm: PerSample, g_norm: PerSample) -> PerSample:
    """Return the residual above which a sample has diverged, given the norms at its start."""
    return _DIVERGENCE_FACTOR * (residual_norm + g_norm + 1)
