"""The loop that all fixed-point solvers share: stopping, freezing, narrowing, failure."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers.arrays import Flags, State
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.host import HostRows, host_rows
from lit_implicit.solvers.progress import Progress, Step
from lit_implicit.solvers.solution import Solution

OnIterate = Callable[[int, Tensor, Tensor], None]

# On a GPU, asking whether all samples are done waits for the device; a few iterations more change
# no answer and cost less.
_LOOKS_EVERY_ON_DEVICE = 4


class AbstractStepper(ABC):
    """The memory of one solve: turns an iterate and its image into the next iterate."""

    @abstractmethod
    def step(self, at: Evaluation) -> State:
        """Return the next iterate, given an evaluation: `z`, `G(z)`, the residual, the norms."""

    @abstractmethod
    def select(self, keep: Flags) -> "AbstractStepper":
        """Return the memory of the samples in `keep`; this one is not used any more."""

    def on_host(self, rows: HostRows) -> "AbstractStepper | None":
        """Return an empty memory for states as NumPy arrays; None where it knows tensors only."""
        return None


class AbstractSolver(ABC):
    """Settings of a fixed-point method; a solve keeps its memory in a stepper.

    A sample stops when |G(z) - z| <= rtol |G(z)| + atol or the map's own `stop` says so: its answer
    and its counts are those of a solve alone. When at most half of the batch is still active, the
    solve goes on with that part only.
    """

    rtol: float
    atol: float
    max_iter: int

    @property
    def differentiable_steps(self) -> bool:
        """Whether the steps work under autograd, which the adjoint `Unrolled` asks for."""
        return False

    @abstractmethod
    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        """Return a fresh memory for a solve over states of this layout."""

    def iterates(self, g: AbstractMap, z0: Real) -> Iterator[tuple[Real, Real]]:
        """Yield `(z_t, G(z_t))` for t = 0, 1, ... without end, stop, freeze or failure handling.

        This is what probes see. Each item costs one evaluation; gradients are recorded if the
        caller's grad mode says so.
        """
        stepper = self.stepper(g.layout)
        z = z0
        while True:
            at = Evaluation(g.layout, z, g(z))
            yield at.z, at.gz
            z = stepper.step(at)

    @torch.no_grad()
    def solve(self, g: AbstractMap, z0: Real, *, on_iterate: OnIterate | None = None) -> Solution:
        """Find the fixed point of `g` for each sample of the batch; no gradient is recorded.

        Args:
            g: The map to iterate, with its layout. It is narrowed by `g.select` as samples stop,
                if `g.can_select`.
            z0: Initial iterate.
            on_iterate: Called with `(k, z_k, G(z_k))` at each iteration. It always sees the whole
                batch, stopped samples at their frozen state: the map is then not narrowed.

        Returns:
            State, counts, relative residual and status of each sample.
        """
        stepper, z, steps = self.stepper(g.layout), z0, []
        may_narrow = g.can_select and on_iterate is None
        every = 1 if on_iterate is not None else looks_every(z0.device)
        asks_every = g.stop_every

        for k in range(self.max_iter):
            gz = g(z)
            if on_iterate is not None:
                on_iterate(k, z, gz)
            is_last = k + 1 == self.max_iter
            is_asked = (k + 1) % asks_every == 0 or is_last
            reason = g.stop(z, gz) if is_asked else None
            if k == 0:
                stepper, rows = _on_host(stepper, g.layout, z, gz, every)
                layout = g.layout if rows is None else rows
            with np.errstate(all="ignore"):
                at = Evaluation(g.layout, z, gz) if rows is None else rows.evaluation(z, gz)
                if k == 0:
                    progress = Progress(layout, at.z, self.rtol, self.atol)
                z_next = stepper.step(at)
                steps.append(Step(k, at.z, z_next, at.residual_norm, at.g_norm, reason))
                if every > 1:
                    z_next = layout.where(at.residual_norm.isfinite(), z_next, at.z)
                if (k + 1) % every and not is_last:
                    z = z_next
                    continue
                progress.take(steps)
            steps = []
            if progress.n_active == 0:
                break
            if every == 1 and progress.finite is not None:
                # A G that takes no NaN must get none: it is asked again where it did answer.
                z_next = layout.where(progress.finite, z_next, at.z)
            if on_iterate is not None:
                z_next = progress.frozen(z_next)
            elif may_narrow and 2 * progress.n_active <= layout.n and not is_last:
                keep = progress.narrow()
                z_next = layout.select(z_next, keep)
                mask = torch.as_tensor(keep, device=z0.device)
                g, stepper = g.select(mask), stepper.select(keep)
                layout = progress.layout
                rows = layout if isinstance(layout, HostRows) else None
            z = z_next if rows is None else rows.tensor(z_next)
        return progress.solution(k, z_next)


def _on_host(
    stepper: AbstractStepper, layout: AbstractLayout, z: Real, gz: Real, every: int
) -> tuple[AbstractStepper, HostRows | None]:
    """Return the memory that a solve goes on with, and its layout if that is of NumPy arrays."""
    rows = host_rows(layout, z, gz) if every == 1 else None
    memory = None if rows is None else stepper.on_host(rows)
    return (stepper, None) if memory is None else (memory, rows)


def looks_every(device: torch.device) -> int:
    """Return how many iterations pass from one look at who is active to the next."""
    return 1 if device.type == "cpu" else _LOOKS_EVERY_ON_DEVICE


def is_time_to_look(k: int, device: torch.device) -> bool:
    """Tell whether iteration `k` may ask which samples are active: it waits for a GPU."""
    return (k + 1) % looks_every(device) == 0


def check_settings(name: str, rtol: float, atol: float, max_iter: int) -> None:
    """Refuse tolerances and budgets that make no sense.

    Raises:
        ValueError: If `rtol` or `atol` is negative or not finite, or `max_iter` below 1.
    """
    for key, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < math.inf:
            wanted = "finite" if value == math.inf else "at least 0"
            raise ValueError(
                f"`{name}.{key}` must be {wanted}, got {value}. 0 switches the test off: with rtol "
                "and atol at 0, a solve takes `max_iter` iterations."
            )
    if max_iter < 1:
        raise ValueError(f"`{name}.max_iter` must be at least 1, got {max_iter}.")
