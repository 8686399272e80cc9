"""The bounded memory of accelerated methods: the last pairs of state differences, per sample."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real, widest_dtype

# Slots to begin with.
_FIRST_SIZE = 4


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

    def __init__(self, size: int, layout: AbstractLayout, state: Real) -> None:
        wide = widest_dtype(state.device)
        self.most, self.layout = size, layout
        self.size = size = min(size, _FIRST_SIZE)
        self.count = 0  # pairs seen so far
        self.first = state.new_empty(size, *state.shape)
        self.second = torch.empty_like(self.first)
        self.matrices = state.new_zeros(layout.n, size, size, dtype=wide)
        self.huge = huge_number(wide)
        self.fresh: Mask | None = None
        """Samples that have just forgotten all, shape `(n,)`; None where there is none."""

    @property
    def filled(self) -> tuple[Real, Real, Tensor]:
        """Views of the k slots that hold a pair: `(k, *state)` twice, and matrices `(n, k, k)`."""
        if self.count >= self.size:
            return self.first, self.second, self.matrices
        k = self.count
        return self.first[:k], self.second[:k], self.matrices[:, :k, :k]

    def push(self, first: tuple[Real, Real], second: tuple[Real, Real]) -> int:
        """Put a pair of differences over the oldest one and return its slot.

        Args:
            first: Two states, the newer one first, whose difference is the first of the pair.
            second: The same for the second.
        """
        if self.count == self.size < self.most:
            self._grow(min(2 * self.size, self.most))
        slot = self.count % self.size
        if torch.is_grad_enabled():
            self.first = _replaced(self.first, slot, first[0] - first[1])
            self.second = _replaced(self.second, slot, second[0] - second[1])
        else:
            _write_difference(self.first[slot], *first)
            _write_difference(self.second[slot], *second)
        self.count += 1
        return slot

    @property
    def excluded(self) -> Tensor:
        """Slots that do not count for a sample, of those that hold a pair, shape `(n, k)`."""
        excluded: Tensor = self.filled[2].diagonal(dim1=-2, dim2=-1) >= self.huge
        return excluded

    def forget(self, restart: Mask) -> None:
        """Let samples forget all pairs, the newest too, unless they have just done so.

        Args:
            restart: The samples, shape `(n,)`.
        """
        if self.fresh is not None:
            restart = restart & ~self.fresh
        self.fresh = None
        self.drop_if_any(restart)

    def drop_if_any(self, samples: Mask) -> None:
        """Let samples forget all pairs, without a question that a GPU would have to answer."""
        if torch.compiler.is_compiling() or samples.device.type != "cpu" or samples.any():
            self.drop(samples)

    def drop(self, samples: Mask) -> None:
        """Let samples forget all pairs, whatever they did before."""
        self.fresh = samples if self.fresh is None else self.fresh | samples
        diagonal = self.filled[2].diagonal(dim1=-2, dim2=-1)
        diagonal.masked_fill_(samples[:, None], self.huge)

    def select(self, keep: Mask) -> "History":
        """Return the history of the samples in `keep`."""
        part = object.__new__(History)
        part.size, part.most, part.count = self.size, self.most, self.count
        part.layout = self.layout.sub(keep)
        # Slot by slot: a layout knows states, not stacks of them.
        part.first = torch.stack([self.layout.select(state, keep) for state in self.first])
        part.second = torch.stack([self.layout.select(state, keep) for state in self.second])
        part.matrices, part.huge = self.matrices[keep], self.huge
        part.fresh = None if self.fresh is None else self.fresh[keep]
        return part

    def _grow(self, size: int) -> None:
        """Make room for more pairs; the ring is full for the first time, so its slots are in order.

        Args:
            size: The new number of slots.
        """
        more = size - self.size
        self.first = torch.cat([self.first, torch.empty_like(self.first[:more])])
        self.second = torch.cat([self.second, torch.empty_like(self.second[:more])])
        self.matrices = torch.nn.functional.pad(self.matrices, (0, more, 0, more))
        self.size = size


def relative_ridge(ridge: float | None, dtype: torch.dtype) -> float:
    """Return a ridge; by default ten times the rounding unit, of float32 in half precision."""
    unit = min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return 10 * unit if ridge is None else ridge


def huge_number(dtype: torch.dtype) -> float:
    """Return what excludes a slot where it stands on the diagonal of the small matrix."""
    huge: float = torch.finfo(dtype).max ** 0.5
    return huge


def sound_weights(weights: Tensor) -> Tensor:
    """Return the weights of each sample, `(n, k)`, but zeros where one of them is not finite."""
    # NaN or infinity times zero is NaN, for the whole sample.
    return (weights + (0 * weights).sum(-1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)


def _write_difference(slot: Real, newer: Real, older: Real) -> None:
    try:
        torch.sub(newer, older, out=slot)
    except RuntimeError:  # forward-mode derivatives do not know `out`
        slot.copy_(newer - older)


def _replaced(buffer: Tensor, slot: int, value: Tensor) -> Tensor:
    return torch.cat([buffer[:slot], value[None], buffer[slot + 1 :]])
