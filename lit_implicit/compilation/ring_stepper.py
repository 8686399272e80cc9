"""The memory of Anderson's method for a step that is a pure function of tensors."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Ragged, widest_dtype
from lit_implicit.solvers import AbstractStepper, Evaluation
from lit_implicit.solvers.arrays import State
from lit_implicit.solvers.host import HostRows

Run: TypeAlias = Callable[..., tuple[Any, ...]]
"""A step of `lit_implicit.compilation.step`, compiled or not."""


ToHost: TypeAlias = Callable[[HostRows], AbstractStepper | None]


class RingStepper(AbstractStepper):
    """The memory of `AndersonStepper` as tensors of full size.

    The last residual is not kept: the graph finds it again from the last iterate and its image,
    which costs one pass less than to write it.

    Args:
        run: The step, as `anderson_step` defines it.
        mixing: As of `Anderson`.
        size: Slots of the ring, at least 1.
        layout: How the samples lie in a state.
        to_host: Returns the memory for small states on a CPU, where NumPy takes less time than to
            look at the inputs of compiled code; None means that this one serves them too.
    """

    def __init__(
        self,
        run: Run,
        mixing: float,
        size: int,
        layout: AbstractLayout,
        to_host: ToHost | None = None,
    ) -> None:
        self.run, self.mixing, self.size, self.layout = run, mixing, size, layout
        self.to_host = to_host
        self.count = 0  # pairs seen so far
        self.is_new = True  # no call yet with tensors of these shapes
        # The last iterate, its image, the norm of the residual.
        self.last: tuple[Tensor, Tensor, Tensor] | None = None
        # Differences of residuals and of plain steps, `(size, *state)`.
        self.pairs: tuple[Tensor, Tensor] | None = None
        self.gram, self.fresh = torch.empty(0), torch.empty(0)
        self.slots: list[Tensor] = []

    def on_host(self, rows: HostRows) -> AbstractStepper | None:
        return None if self.to_host is None else self.to_host(rows)

    def step(self, at: Evaluation) -> State:
        z, gz = at.z, at.gz
        if self.last is None:
            return self._first(at)
        if self.pairs is None:
            self._make_room(gz)
        assert self.pairs is not None
        slot, index = self.slots[self.count % self.size], _index(self.layout)
        if self.is_new:
            _mark(0, z, gz, *self.last, self.gram, self.fresh, index)
            _mark(1, *self.pairs)
            self.is_new = False
        z_next, residual_norm, g_norm, self.gram, self.fresh = self.run(
            z, gz, *self.last, *self.pairs, self.gram, self.fresh, slot, index
        )
        at.note(residual_norm, g_norm)
        self.last, self.count = (z, gz, residual_norm), self.count + 1
        return z_next

    def _first(self, at: Evaluation) -> State:
        """Take the plain step that comes before there is a difference to remember."""
        # The start may ask for a gradient, which no later iterate does. The next iterate must not
        # be the very tensor that is remembered: that would ask for a graph of its own.
        self.last = (at.z.detach(), at.gz.detach(), at.residual_norm)
        return at.gz if self.mixing == 1 else at.z.add(at.residual, alpha=self.mixing)

    def _make_room(self, state: Tensor) -> None:
        n, size, device = self.layout.n, self.size, state.device
        wide = widest_dtype(device)
        zeros = state.new_zeros(size, *state.shape)
        self.pairs = (zeros, torch.zeros_like(zeros))
        huge = torch.full((size,), torch.finfo(wide).max ** 0.5, dtype=wide, device=device)
        self.gram = huge.diag().repeat(n, 1, 1)
        # The first pair comes from a plain step, after which nobody forgets.
        self.fresh = torch.ones(n, dtype=torch.bool, device=device)
        self.slots = [torch.tensor([slot], device=device) for slot in range(size)]

    def select(self, keep: Mask) -> "RingStepper":
        layout = self.layout
        part = RingStepper(self.run, self.mixing, self.size, layout.sub(keep))
        part.count, part.slots = self.count, self.slots
        if self.last is not None:
            z, gz, norm = self.last
            part.last = (layout.select(z, keep), layout.select(gz, keep), norm[keep])
        if self.pairs is not None:
            # Slot by slot: a layout knows states, not stacks of them.
            first, second = self.pairs
            part.pairs = (
                torch.stack([layout.select(state, keep) for state in first]),
                torch.stack([layout.select(state, keep) for state in second]),
            )
            part.gram, part.fresh = self.gram[keep], self.fresh[keep]
        return part


def _index(layout: AbstractLayout) -> Tensor | None:
    return layout.index if isinstance(layout, Ragged) else None


def _mark(axis: int, *tensors: Tensor | None) -> None:
    """Let one graph serve all sizes of an axis."""
    for tensor in tensors:
        if tensor is not None and tensor.ndim > axis:
            torch._dynamo.maybe_mark_dynamic(tensor, axis)
