"""The loop that all fixed-point solvers share: stopping, freezing and failure, sample by sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, PerSample, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers.solution import Solution, Status, relative_residual

OnIterate = Callable[[int, Tensor, Tensor], None]

# A residual this many times larger than the first one, G(z0) and one (states are of order one, and
# a start at zero may be far from there) together is no transient.
_DIVERGENCE_FACTOR = 1e6
# On a GPU, asking whether all samples are done waits for the device; a few iterations more on
# frozen samples change nothing and cost less.
_CHECK_EVERY_ON_DEVICE = 8


class AbstractStepper(ABC):
    """The memory of one solve: turns an iterate and its image into the next iterate."""

    @abstractmethod
    def step(self, z: Real, gz: Real) -> Real:
        """Return the next iterate, given `z` and `gz = G(z)`."""


class AbstractSolver(ABC):
    """Settings of a fixed-point method; a solve keeps its memory in a stepper.

    A sample stops when |G(z) - z| <= rtol |G(z)| + atol or the map's own `stop` says so. It is then
    frozen: its answer and its counts are those of a solve alone.
    """

    rtol: float
    atol: float
    max_iter: int

    @abstractmethod
    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        """Return a fresh memory for a solve over states of this layout."""

    def iterates(self, g: AbstractMap, z0: Real) -> Iterator[tuple[Real, Real]]:
        """Yield `(z_t, G(z_t))` for t = 0, 1, ... without end, stop, freeze or failure handling.

        This is what probes and unrolling see. Each item costs one evaluation; gradients are
        recorded if the caller's grad mode says so.
        """
        stepper = self.stepper(g.layout)
        z = z0
        while True:
            gz = g(z)
            yield z, gz
            z = stepper.step(z, gz)

    @torch.no_grad()
    def solve(self, g: AbstractMap, z0: Real, *, on_iterate: OnIterate | None = None) -> Solution:
        """Find the fixed point of `g` for each sample of the batch; no gradient is recorded.

        Args:
            g: The map to iterate, with its layout.
            z0: Initial iterate.
            on_iterate: Called with `(k, z_k, G(z_k))` at each iteration.

        Returns:
            State, counts, relative residual and status of each sample.
        """
        layout, z = g.layout, z0
        best = z0.nan_to_num(0.0, 0.0, 0.0)
        stepper = self.stepper(layout)
        active = torch.ones(layout.n, dtype=torch.bool, device=z0.device)
        n_iter = torch.zeros(layout.n, dtype=torch.int64, device=z0.device)
        status = torch.full_like(n_iter, Status.MAX_ITER)
        # Relative residuals: of the last evaluation, and the least so far.
        last = best_residual = layout.norm(z0).fill_(torch.inf)
        limit = last
        check_every = 1 if z0.device.type == "cpu" else _CHECK_EVERY_ON_DEVICE

        for k in range(self.max_iter):
            gz = g(z)
            if on_iterate is not None:
                on_iterate(k, z, gz)
            residual_norm, g_norm = layout.norm(gz - z), layout.norm(gz)
            ratio = relative_residual(residual_norm, g_norm)
            if k == 0:
                limit = divergence_limit(residual_norm, g_norm)

            finite = ratio.isfinite()
            diverged = residual_norm > limit
            done = residual_norm <= self.rtol * g_norm + self.atol
            reason = g.stop(z, gz)
            if reason is not None:
                done = done | (reason & finite)

            # Only a sample that fails needs its best iterate, but which will is not known yet.
            better = active & finite & (ratio < best_residual)
            best = layout.where(better, z, best)
            best_residual = torch.where(better, ratio, best_residual)
            failed = active & (~finite | diverged)

            z = layout.where(active, stepper.step(z, gz), z)
            z = layout.where(failed, best, z)
            n_iter += active
            last = torch.where(active, torch.where(failed, best_residual, ratio), last)
            status = torch.where(active & done, Status.CONVERGED, status)
            status = torch.where(failed & diverged, Status.DIVERGED, status)
            status = torch.where(failed & ~finite, Status.NONFINITE, status)
            active = active & ~done & ~failed
            if (k + 1) % check_every == 0 and not active.any():
                break

        return Solution(z, n_iter, n_iter.clone(), last, status)


def divergence_limit(residual_norm: PerSample, g_norm: PerSample) -> PerSample:
    """Return the residual above which a sample has diverged, given the norms at its start."""
    return _DIVERGENCE_FACTOR * (residual_norm + g_norm + 1)


def check_settings(name: str, rtol: float, atol: float, max_iter: int) -> None:
    """Refuse tolerances and budgets that make no sense.

    Raises:
        ValueError: If `rtol` or `atol` is negative, or `max_iter` below 1.
    """
    for key, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise ValueError(
                f"`{name}.{key}` must be at least 0, got {value}. 0 switches the test off."
            )
    if max_iter < 1:
        raise ValueError(f"`{name}.max_iter` must be at least 1, got {max_iter}.")
