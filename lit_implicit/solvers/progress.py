"""Where the samples of a batch stand in a solve: state, counts, best iterate and status of each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.solution import Solution, Status

# A residual this many times larger than the first one, G(z0) and one (states are of order one, and
# a start at zero may be far from there) together is no transient.
_DIVERGENCE_FACTOR = 1e6


@dataclass(eq=False)
class Progress:
    """The record of a solve over a batch; all but the two states has shape `(n,)`.

    Args:
        layout: How the samples lie in a state.
        z: The iterate of each sample, frozen once it has stopped.
        best: Its best finite iterate; no longer kept up once a sample has converged.
        best_residual: The relative residual there.
        last: The relative residual at the last evaluation.
        limit: Residual above which a sample has diverged.
        n_iter: Iterations.
        status: A `Status`.
        active: Samples that have not stopped.
    """

    layout: AbstractLayout
    z: Real
    best: Real
    best_residual: PerSample
    last: PerSample
    limit: PerSample
    n_iter: Tensor
    status: Tensor
    active: Mask

    @classmethod
    def start(cls, layout: AbstractLayout, z0: Real) -> "Progress":
        """Return the record before the first evaluation."""
        unknown = layout.norm(z0).fill_(torch.inf)
        n_iter = torch.zeros(layout.n, dtype=torch.int64, device=z0.device)
        status = torch.full_like(n_iter, Status.MAX_ITER)
        best = z0.nan_to_num(0.0, 0.0, 0.0)
        active = torch.ones_like(n_iter, dtype=torch.bool)
        return cls(layout, z0, best, unknown, unknown, unknown, n_iter, status, active)

    def advance(self, at: Evaluation, z_next: Real, done: Mask) -> None:
        """Take in one iteration of all active samples.

        Args:
            at: The evaluation at `z`.
            z_next: The next iterate.
            done: Samples that may stop, shape `(n,)`.
        """
        ratio, active = at.relative_residual, self.active
        finite = ratio.isfinite()
        diverged = at.residual_norm > self.limit
        failed = active & (~finite | diverged)
        # Only a sample that fails needs its best iterate, but which will is not known yet.
        better = active & finite & (ratio < self.best_residual)
        self.best_residual = torch.where(better, ratio, self.best_residual)
        settled = self.status == Status.CONVERGED
        self.best = _pick(self.layout, better | settled, self.z, self.best)
        # A sample that fails stays where G was last seen: the step from there may not be finite.
        self.z = _pick(self.layout, active & ~failed, z_next, self.z)
        self.n_iter = self.n_iter + active
        self.last = torch.where(active, ratio, self.last)
        status = torch.where(active & done, Status.CONVERGED, self.status)
        status = torch.where(failed & diverged, Status.DIVERGED, status)
        self.status = torch.where(failed & ~finite, Status.NONFINITE, status)
        self.active = active & ~done & ~failed

    def select(self, keep: Mask) -> "Progress":
        """Return the record of the samples in `keep` alone."""
        part = (self.best_residual, self.last, self.limit, self.n_iter, self.status, self.active)
        return Progress(
            self.layout.sub(keep),
            self.layout.select(self.z, keep),
            self.layout.select(self.best, keep),
            *(values[keep] for values in part),
        )

    def put(self, keep: Mask, part: "Progress") -> None:
        """Take the record of the samples in `keep` from `part`, which was selected from here."""
        self.z = self.layout.put(self.z, keep, part.z)
        self.best = self.layout.put(self.best, keep, part.best)
        for name in ("best_residual", "last", "n_iter", "status", "active"):
            values: Tensor = getattr(self, name)
            setattr(self, name, values.index_put((keep,), getattr(part, name)))

    def solution(self) -> Solution:
        """Return the outcome: of samples that failed, their best iterate and its residual."""
        failed = self.status >= Status.DIVERGED
        z = self.layout.where(failed, self.best, self.z)
        last = torch.where(failed, self.best_residual, self.last)
        return Solution(z, self.n_iter, self.n_iter.clone(), last, self.status)


def divergence_limit(at: Evaluation) -> PerSample:
    """Return the residual above which a sample has diverged, given the evaluation at its start."""
    return _DIVERGENCE_FACTOR * (at.residual_norm + at.g_norm + 1)


def _pick(layout: AbstractLayout, mask: Mask, a: Real, b: Real) -> Real:
    """Return `layout.where(mask, a, b)`, on the CPU without a copy where all samples agree.

    On a GPU the question would wait for the device.
    """
    if mask.device.type == "cpu":
        if mask.all():
            return a
        if not mask.any():
            return b
    return layout.where(mask, a, b)
