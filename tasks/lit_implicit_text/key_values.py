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

    One tensor, made once: `2 * n_iter * n_blocks * n * capacity * width` numbers.

    Args:
        sizes: Heads and their width.
        n_iter: How often the stack is applied; 1 outside of the loop.
        n_blocks: Its blocks.
        n: Number of samples.
        capacity: Most positions.
        like: A tensor of the dtype and device that are wanted.
    """

    def __init__(
        self, sizes: TextSizes, n_iter: int, n_blocks: int, n: int, capacity: int, like: Tensor
    ) -> None:
        # Zeros: what is not seen is multiplied by zero, and memory as it comes may hold NaN.
        self.store = like.new_zeros(
            n_iter, n_blocks, 2, n, sizes.heads, capacity, sizes.head_dim
        )  # fmt: skip

    def at(self, step: int, place: Place) -> list[BlockMemory]:
        """Return the memories of the blocks in a step, counted from 0."""
        return [BlockMemory(block, place) for block in self.store[step]]

    def repeat(self, step: int, place: Place) -> None:
        """Let the entries of a step stand for all later ones, which will not be taken."""
        rows, positions = place.rows[:, None], place.positions
        last = self.store[step][:, :, rows, :, positions]  # (m, length, blocks, 2, heads, head_dim)
        self.store[step + 1 :, :, :, rows, :, positions] = last[:, :, None]

    def move(self, to: Tensor, source: Tensor) -> None:
        """Copy rows `source` to rows `to`, both of shape `(k,)`, int64."""
        self.store[:, :, :, to] = self.store[:, :, :, source]


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
