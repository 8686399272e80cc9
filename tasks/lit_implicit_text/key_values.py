"""Keys and values of earlier positions, kept while texts grow."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_implicit_text.sizes import TextSizes


@dataclass(frozen=True, eq=False)
class Place:
    """Where the present positions of some samples lie in the memory.

    Args:
        rows: Rows of the samples, shape `(m,)`, int64.
        positions: Their present positions, shape `(m, length)`, int64.
        end: Positions that are looked at, from the first.
        is_prefix: Whether `rows` are the first `m`, so that they can be read without a copy.
    """

    rows: Tensor
    positions: Tensor
    end: int
    is_prefix: bool = True

    def select(self, keep: Tensor) -> "Place":
        """Return the place of the samples in `keep` (`(m,)`, boolean)."""
        rows, positions = self.rows[keep], self.positions[keep]
        return replace(self, rows=rows, positions=positions, is_prefix=False)


@dataclass(frozen=True, eq=False)
class BlockMemory:
    """Keys and values of one block: a `Memory` of its attention.

    Args:
        store: Keys, then values, shape `(2, n, heads, capacity, head_dim)`.
        place: Where the present positions lie.
    """

    store: Tensor
    place: Place

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write those of the present positions, and return all up to the place's end."""
        place, found = self.place, []
        for kept, new in zip(self.store, (keys, values), strict=True):
            kept[place.rows[:, None], :, place.positions] = new.transpose(1, 2).to(kept.dtype)
            rows = slice(len(place.rows)) if place.is_prefix else place.rows
            found.append(kept[rows, :, : place.end])
        return found[0], found[1]


class KeyValues:
    """Keys and values of a stack of blocks, of each step that applies it.

    A step takes memory once a text comes to it: `2 * n_blocks * n * capacity * width` numbers. It
    begins as a copy of the step before it, whose entries stand for it at earlier positions.

    Args:
        sizes: Heads and their width.
        n_blocks: The stack's blocks.
        n: Number of samples.
        capacity: Most positions.
        like: A tensor of the dtype and device that are wanted.
    """

    def __init__(
        self, sizes: TextSizes, n_blocks: int, n: int, capacity: int, like: Tensor
    ) -> None:
        # Zeros: what is not seen is multiplied by zero, and memory as it comes may hold NaN.
        self.steps = [like.new_zeros(n_blocks, 2, n, sizes.heads, capacity, sizes.head_dim)]

    def at(self, step: int, place: Place) -> list[BlockMemory]:
        """Return the memories of the blocks in a step: one that is there, or the next."""
        if step == len(self.steps):
            self.steps.append(self.steps[-1].clone())
        return [BlockMemory(block, place) for block in self.steps[step]]

    def repeat(self, taken: Tensor, place: Place) -> None:
        """Let the entries of each sample's last step stand for later ones, which it did not take.

        Args:
            taken: Steps that each sample took at the place's positions, shape `(m,)`, at least 1.
            place: The place of all samples.
        """
        early = (taken < len(self.steps)).nonzero()[:, 0]
        if not len(early):
            return
        taken, least = taken[early][:, None, None, None, None, None], int(taken.min())
        every, rows, positions = slice(None), place.rows[early, None], place.positions[early]
        where = (every, every, rows, every, positions)
        entries = self.steps[least - 1][where]  # (k, length, blocks, 2, heads, head_dim)
        for later, step in enumerate(self.steps[least:], start=least):
            entries = torch.where(taken > later, step[where], entries)
            step[where] = entries

    def move(self, to: Tensor, source: Tensor) -> None:
        """Copy rows `source` to rows `to`, both of shape `(k,)`, int64."""
        for step in self.steps:
            step[:, :, to] = step[:, :, source]


def cache_bytes(sizes: TextSizes, n_iter: int, capacity: int, dtype: torch.dtype) -> int:
    """Return the bytes of all keys and values of one text.

    Args:
        sizes: All sizes of the network.
        n_iter: Iterations of the core, each with entries of its own.
        capacity: Most positions.
        dtype: That of the weights.
    """
    n_blocks = sizes.prelude + n_iter * sizes.core + sizes.coda
    return 2 * n_blocks * capacity * sizes.width * dtype.itemsize


def without_gaps(stays: Tensor) -> Tensor:
    """Return which row each row shall hold, so that those that stay come first.

    Few rows move: the last ones fill the gaps that others leave.

    Args:
        stays: Rows that stay, shape `(m,)`, boolean.

    Returns:
        Row numbers, shape `(number that stay,)`, int64.
    """
    kept = stays.nonzero()[:, 0]
    rows = torch.arange(len(kept), device=stays.device)
    rows[~stays[: len(kept)]] = kept[kept >= len(kept)]
    return rows
