"""The bounded memory of accelerated methods: the last pairs of state differences, per sample."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.host import HostRows, algebra_of

# Slots to begin with.
_FIRST_ROOM = 4


class History:
    """A ring of pairs of state differences, and a small matrix over its slots for each sample.

    The ring grows by doubling, so that a short solve pays for no long memory. Otherwise, writing
    allocates nothing, except where gradients are recorded and autograd forbids to write in place.
    Samples forget separately: a slot that does not count for one has a huge number on the diagonal
    of its matrix, so that a system with that matrix gives it no weight.

    Args:
        size: Most slots, at least 1.
        layout: How the samples lie in a state.
        state: A state, for its shape, dtype and device.
    """

    def __init__(self, size: int, layout: AbstractLayout | HostRows, state: State) -> None:
        self.most, self.layout, self.algebra = size, layout, algebra_of(layout)
        self.size = size = min(size, _FIRST_ROOM)
        self.count = 0  # pairs seen so far
        self.first, self.second = (self.algebra.room(state, size) for _ in range(2))
        self.matrices = self.algebra.zeros(state, layout.n, size, size)
        self.huge = huge_number(self.algebra.dtype(self.matrices))
        self.fresh: Flags | None = None
        """Samples that have just forgotten all, shape `(n,)`; None where there is none."""

    @property
    def filled(self) -> tuple[State, State, Numbers]:
        """Views of the k slots that hold a pair: `(k, *state)` twice, and matrices `(n, k, k)`."""
        if self.count >= self.size:
            return self.first, self.second, self.matrices
        k = self.count
        return self.first[:k], self.second[:k], self.matrices[:, :k, :k]

    def push(self, first: tuple[State, State], second: tuple[State, State]) -> int:
        """Put a pair of differences over the oldest one and return its slot.

        Args:
            first: Two states, the newer one first, whose difference is the first of the pair.
            second: The same for the second.
        """
        if self.count == self.size < self.most:
            # The last time at once: room for few more would cost a copy of all again.
            self._grow(2 * self.size if 4 * self.size <= self.most else self.most)
        slot = self.count % self.size
        if torch.is_grad_enabled():
            self.first = _replaced(self.first, slot, first[0] - first[1])
            self.second = _replaced(self.second, slot, second[0] - second[1])
        else:
            self.algebra.write_difference(self.first[slot], *first)
            self.algebra.write_difference(self.second[slot], *second)
        self.count += 1
        return slot

    @property
    def excluded(self) -> Flags:
        """Slots that do not count for a sample, of those that hold a pair, shape `(n, k)`."""
        return self.algebra.diagonal(self.filled[2]) >= self.huge

    def forget(self, restart: Flags) -> None:
        """Let samples forget all pairs, the newest too, unless they have just done so.

        Args:
            restart: The samples, shape `(n,)`.
        """
        if self.fresh is not None:
            restart = restart & ~self.fresh
        self.fresh = None
        self.drop_if_any(restart)

    def drop_if_any(self, samples: Flags) -> None:
        """Let samples forget all pairs, without a question that a GPU would have to answer."""
        if self.algebra.may_be_any(samples):
            self.drop(samples)

    def drop(self, samples: Flags) -> None:
        """Let samples forget all pairs, whatever they did before."""
        self.fresh = samples if self.fresh is None else self.fresh | samples
        diagonal = self.algebra.diagonal(self.filled[2])
        self.algebra.fill(diagonal, samples[:, None], self.huge)

    def select(self, keep: Flags) -> "History":
        """Return the history of the samples in `keep`."""
        part = object.__new__(History)
        part.size, part.most, part.count = self.size, self.most, self.count
        part.layout, part.algebra = self.layout.sub(keep), self.algebra
        part.first, part.second = self._part(self.first, keep), self._part(self.second, keep)
        part.matrices, part.huge = self.matrices[keep], self.huge
        part.fresh = None if self.fresh is None else self.fresh[keep]
        return part

    def _part(self, stack: State, keep: Flags) -> State:
        """Return the samples in `keep` of a stack, slot by slot: a layout knows single states."""
        filled = [self.layout.select(state, keep) for state in stack[: self.count]]
        part = self.algebra.room(filled[0], self.size)
        for slot, state in zip(part, filled, strict=False):
            self.algebra.write(slot, state)
        return part

    def _grow(self, size: int) -> None:
        """Make room for more pairs; the ring is full for the first time, so its slots are in order.

        Args:
            size: The new number of slots.
        """
        more = size - self.size
        self.first = self.algebra.longer(self.first, more)
        self.second = self.algebra.longer(self.second, more)
        self.matrices = self.algebra.padded(self.matrices, more)
        self.size = size


def relative_ridge(ridge: float | None, dtype: torch.dtype) -> float:
    """Return a ridge; by default ten times the rounding unit, of float32 in half precision."""
    unit = min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return 10 * unit if ridge is None else ridge


def huge_number(dtype: torch.dtype) -> float:
    """Return what excludes a slot where it stands on the diagonal of the small matrix."""
    huge: float = torch.finfo(dtype).max ** 0.5
    return huge


def _replaced(buffer: Tensor, slot: int, value: Tensor) -> Tensor:
    return torch.cat([buffer[:slot], value[None], buffer[slot + 1 :]])
