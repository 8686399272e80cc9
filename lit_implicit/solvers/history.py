"""The bounded memory of accelerated methods: the last pairs of state differences, per sample."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real, widest_dtype


class History:
    """A ring of pairs of state differences, and a small matrix over its slots for each sample.

    Samples forget separately: a slot counts for those in `valid`, shape `(n, size)`. Writing
    allocates nothing, except where gradients are recorded and autograd forbids to write in place.

    Args:
        size: Number of slots, at least 1.
        layout: How the samples lie in a state.
        state: A state, for its shape, dtype and device.
    """

    def __init__(self, size: int, layout: AbstractLayout, state: Real) -> None:
        self.size, self.layout = size, layout
        self.count = 0  # pairs seen so far
        self.first = state.new_zeros(size, *state.shape)
        self.second = torch.zeros_like(self.first)
        self.valid = torch.zeros(layout.n, size, dtype=torch.bool, device=state.device)
        wide = widest_dtype(state.device)
        self.matrix = state.new_zeros(layout.n, size, size, dtype=wide)

    @property
    def filled(self) -> int:
        """Number of slots that hold a pair."""
        return min(self.count, self.size)

    def push(self, first: tuple[Real, Real], second: tuple[Real, Real], restart: Mask) -> int:
        """Put a pair of differences over the oldest one and return its slot.

        Args:
            first: Two states, the newer one first, whose difference is the first of the pair.
            second: The same for the second.
            restart: Samples that forget all, this pair too, shape `(n,)`.
        """
        slot = self.count % self.size
        keep = ~restart
        self.valid &= keep[:, None]
        self.valid[:, slot] = keep
        if torch.is_grad_enabled():
            self.first = _replaced(self.first, slot, first[0] - first[1])
            self.second = _replaced(self.second, slot, second[0] - second[1])
        else:
            torch.sub(*first, out=self.first[slot])
            torch.sub(*second, out=self.second[slot])
        self.count += 1
        return slot

    def select(self, keep: Mask) -> "History":
        """Return the history of the samples in `keep`."""
        part = object.__new__(History)
        part.size, part.count, part.layout = self.size, self.count, self.layout.sub(keep)
        # Slot by slot: a layout knows states, not stacks of them.
        part.first = torch.stack([self.layout.select(state, keep) for state in self.first])
        part.second = torch.stack([self.layout.select(state, keep) for state in self.second])
        part.valid, part.matrix = self.valid[keep], self.matrix[keep]
        return part


def _replaced(buffer: Tensor, slot: int, value: Tensor) -> Tensor:
    return torch.cat([buffer[:slot], value[None], buffer[slot + 1 :]])
