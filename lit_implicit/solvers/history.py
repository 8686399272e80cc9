"""The bounded memory of accelerated methods: the last pairs of state differences, per sample."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real


class History:
    """A ring of pairs of states, and a small matrix over its slots for each sample.

    Samples forget separately: a slot counts for those in `valid`, shape `(size, n)`. Writing
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
        self.valid = torch.zeros(size, layout.n, dtype=torch.bool, device=state.device)
        self.matrix = layout.norm(state.detach()).new_zeros(layout.n, size, size)

    @property
    def filled(self) -> int:
        """Number of slots that hold a pair."""
        return min(self.count, self.size)

    def push(self, first: Real, second: Real, restart: Mask) -> int:
        """Put a pair over the oldest one and return its slot; samples in `restart` forget all."""
        slot = self.count % self.size
        self.valid &= ~restart
        self.valid[slot] = ~restart
        if torch.is_grad_enabled():
            self.first = _replaced(self.first, slot, first)
            self.second = _replaced(self.second, slot, second)
        else:
            self.first[slot], self.second[slot] = first, second
        self.count += 1
        return slot

    def select(self, keep: Mask) -> "History":
        """Return the history of the samples in `keep`."""
        part = object.__new__(History)
        part.size, part.count, part.layout = self.size, self.count, self.layout.sub(keep)
        # Slot by slot: a layout knows states, not stacks of them.
        part.first = torch.stack([self.layout.select(state, keep) for state in self.first])
        part.second = torch.stack([self.layout.select(state, keep) for state in self.second])
        part.valid, part.matrix = self.valid[:, keep], self.matrix[keep]
        return part


def solve_masked(matrix: Tensor, rhs: Tensor, usable: Tensor) -> Tensor:
    """Solve the small system of each sample over its usable unknowns; the others are zero.

    Args:
        matrix: Systems of shape `(n, k, k)`; entries outside the usable ones may be anything.
        rhs: Right-hand sides, shape `(n, k)`.
        usable: Which unknowns take part, shape `(n, k)`.

    Returns:
        Solutions of shape `(n, k)`; zero for a system that is singular.
    """
    system = torch.where(usable[:, :, None] & usable[:, None, :], matrix, 0.0)
    diagonal = torch.where(usable, system.diagonal(dim1=-2, dim2=-1), 1.0)
    system = system.diagonal_scatter(diagonal, dim1=-2, dim2=-1)
    solution, _ = torch.linalg.solve_ex(system, torch.where(usable, rhs, 0.0))
    # One NaN spoils its sample's weights only, and there all of them.
    sound = solution.isfinite().all(-1, keepdim=True)
    return torch.where(sound & usable, solution, 0.0)


def _replaced(buffer: Tensor, slot: int, value: Tensor) -> Tensor:
    return torch.cat([buffer[:slot], value[None], buffer[slot + 1 :]])
