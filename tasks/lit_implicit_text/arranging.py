"""Batches of texts of like length: less padding, which costs as much as text."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np


class Measured(Protocol):
    """Samples whose lengths are known."""

    def n_tokens(self, index: int, epoch: int) -> int:
        """Return the length of a sample in an epoch."""


def by_length(
    samples: Measured, batch_size: int, window: int, seed: int, epoch: int, numbers: Sequence[int]
) -> Iterator[int]:
    """Yield numbers in an order whose batches hold samples of like length.

    Within a window the samples are sorted, and its batches come in a drawn order, so that short
    texts are not always first. Windows follow one another as before: what an epoch sees early and
    late stays drawn. The order is a function of seed, epoch and the numbers. Lengths are asked for
    a window at a time.

    Args:
        samples: Where the lengths are from.
        batch_size: Samples in a batch.
        window: Batches that are sorted together.
        seed: Seed of the order of a window's batches.
        epoch: The epoch.
        numbers: The samples in the order that was drawn.
    """
    for first in range(0, len(numbers), batch_size * window):
        some = sorted(
            numbers[first : first + batch_size * window],
            key=lambda number: samples.n_tokens(number, epoch),
        )
        batches = [some[i : i + batch_size] for i in range(0, len(some), batch_size)]
        n_whole = len(some) // batch_size  # a smaller batch must stay the last of the epoch
        order = np.random.default_rng((seed, epoch, first)).permutation(n_whole).tolist()
        for i in [*order, *range(n_whole, len(batches))]:
            yield from batches[i]
