"""Where the samples of a batch stand in a solve: what they answered, and who goes on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lit_implicit.layout import AbstractLayout, Mask
from lit_implicit.solvers.arrays import Numbers, State
from lit_implicit.solvers.best import BestIterates, Flags, Values
from lit_implicit.solvers.host import HostRows, algebra_of
from lit_implicit.solvers.solution import Norms, Solution, Status, relative_residual

# A residual this many times larger than the first one, G(z0) and one (states are of order one, and
# a start at zero may be far from there) together is no transient.
_DIVERGENCE_FACTOR = 1e6


@dataclass(eq=False)
class Step:
    """One iteration of the samples that a solve goes on with.

    Args:
        number: Which iteration, from 0.
        z: Its iterate.
        z_next: The iterate after it.
        residual_norm: 2-norm of the residual at `z`, shape `(n,)`.
        g_norm: 2-norm of G at `z`, shape `(n,)`.
        reason: Samples that the map wants to stop, shape `(n,)`; None where it was not asked.
    """

    number: int
    z: State
    z_next: State
    residual_norm: Numbers
    g_norm: Numbers
    reason: Mask | None


class Progress:
    """The record of a solve, in NumPy: who goes on, and the outcome of those who do not.

    Steps are taken in after the fact, a few at a time on a GPU. A sample that has stopped may so
    have gone on for some steps, and goes on until the batch is narrowed: nobody looks at it again.
    In this way no step waits for the device, and states are copied only where a sample stops.

    Args:
        layout: How the samples lie in a state.
        z0: The initial iterate.
        rtol: Relative residual at which a sample stops.
        atol: Residual at which a sample stops.
    """

    limit: Values
    ratio: Values

    def __init__(
        self, layout: AbstractLayout | HostRows, z0: State, rtol: float, atol: float
    ) -> None:
        n, self.algebra = layout.n, algebra_of(layout)
        self.whole, self.layout, self.rtol, self.atol = layout, layout, rtol, atol
        self.z0, self.answer = z0, z0
        self.n_iter, self.status = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.last = np.full(n, np.inf)
        # Of the samples that the solve goes on with:
        self.index, self.active, self.n_active = np.arange(n), np.ones(n, np.bool_), n
        self.stopped: Flags | None = None  # the others, where there are any
        self.best = BestIterates(layout, z0)
        self.finite: Any = None
        """Whose last residual was finite, `(n,)`; None where all were, of the stopped ones too."""

    def take(self, steps: list[Step]) -> None:
        """Take in the next iterations, in their order. On a GPU this waits for the device.

        The caller has silenced NumPy's warnings of numbers that are not finite.
        """
        if len(steps) == 1:
            norms = [(_numpy(steps[0].residual_norm), _numpy(steps[0].g_norm))]
        else:
            pairs = [torch.stack([step.residual_norm, step.g_norm]) for step in steps]
            norms = [tuple(pair) for pair in _numpy(torch.stack(pairs))]
        for step, (residual, g) in zip(steps, norms, strict=True):
            self._take(step, residual, g)

    def _take(self, step: Step, residual: Values, g: Values) -> None:
        if step.number == 0:
            self.limit = divergence_limit(residual, g)
        self.ratio = relative_residual(residual, g)
        # Written so that NaN is out.
        going = (residual > self.rtol * g + self.atol) & (residual <= self.limit)
        if step.reason is not None:
            going &= ~_numpy(step.reason)
        self.finite = None
        if self._all_go_on_better(going):
            self.best.take_all(step.number, step.z, self.ratio)
            return
        self.best.take(step.number, step.z, self.ratio, self.active)
        if going.all():
            return
        finite, diverged = np.isfinite(self.ratio), residual > self.limit
        self.finite = None if finite.all() else self._on_device(finite)
        stopped = self.active & ~going
        if not stopped.any():
            return
        failed = stopped & (~finite | diverged)
        self._answer(stopped & ~failed, Status.CONVERGED, step.number, step.z_next, self.ratio)
        if failed.any():
            state, ratio = self.best.of(failed), self.best.ratio
            self._answer(failed & finite, Status.DIVERGED, step.number, state, ratio)
            self._answer(failed & ~finite, Status.NONFINITE, step.number, state, ratio)
        self.active = self.active & ~stopped
        self.n_active, self.stopped = int(self.active.sum()), ~self.active

    def _all_go_on_better(self, going: Flags) -> bool:
        """Tell whether all who are active go on from their best iterate so far: the common case."""
        ahead = going & (self.ratio < self.best.ratio)
        if self.stopped is None:
            return bool(ahead.all())
        return bool((ahead | self.stopped).all() and np.isfinite(self.ratio.sum()))

    def _answer(self, mask: Flags, status: Status, number: int, z: State, ratio: Values) -> None:
        """Note the outcome of the samples in `mask`, whose answer is their part of `z`."""
        where = self.index[mask]
        if not len(where):
            return
        self.n_iter[where], self.status[where] = number + 1, int(status)
        self.last[where] = ratio[mask]
        if len(where) == self.whole.n:
            self.answer = z
            return
        whole = np.zeros(self.whole.n, np.bool_)
        whole[where] = True
        part = self.layout.select(z, self._on_device(mask))
        self.answer = self.whole.put(self.answer, self._on_device(whole), part)

    def frozen(self, z: State) -> State:
        """Return `z` of the whole batch with the answers of those who have stopped."""
        return self.layout.where(self._on_device(self.active), z, self.answer)

    def narrow(self) -> Any:
        """Go on with the active samples alone; return which of the present ones they are."""
        keep, mask = self.active, self._on_device(self.active)
        self.best = self.best.select(keep)
        self.index, self.limit, self.ratio = self.index[keep], self.limit[keep], self.ratio[keep]
        self.layout, self.active, self.stopped = self.layout.sub(mask), keep[keep], None
        return mask

    def solution(self, number: int, z: State) -> Solution:
        """Return the outcome, given the number of the last iteration and the iterate after it."""
        self._answer(self.active, Status.MAX_ITER, number, z, self.ratio)
        answer = self.answer
        if isinstance(self.whole, HostRows):
            answer = self.whole.tensor(answer).clone()  # memory of NumPy's could not be resized
        last, n_iter, n_eval, status = (
            torch.from_numpy(values).to(answer.device, copy=True)
            for values in (
                self.last.astype(self.ratio.dtype, copy=False),
                self.n_iter,
                self.n_iter,
                self.status,
            )
        )
        return Solution(answer, n_iter, n_eval, last, status)

    def _on_device(self, mask: Flags) -> Any:
        return self.algebra.flags(mask, self.z0)


def _numpy(values: Any) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    try:
        found: npt.NDArray[Any] = values.cpu().numpy()
        return found
    except RuntimeError:  # `torch.func` shows the numbers, but not their memory
        return np.asarray(values.tolist(), str(values.dtype).removeprefix("torch."))


def divergence_limit(residual_norm: Norms, g_norm: Norms) -> Norms:
    """Return the residual above which a sample has diverged, given the norms at its start."""
    limit: Norms = _DIVERGENCE_FACTOR * (residual_norm + g_norm + 1)
    return limit
