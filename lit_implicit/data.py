"""What data modules share: batches in an order that can be repeated, and checks of arguments."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

_Arrange = Callable[[int, Sequence[int]], Iterable[int]]


class EpochDataLoader(DataLoader[Any]):
    """Shuffled training batches: a function of (seed, epoch), and each rank's share of them.

    Torch's own shuffling draws from the global random state, which no checkpoint holds. This loader
    also counts the batches that it gave out; Lightning saves the count in its checkpoints, so that
    a training that was stopped in mid-epoch goes on with the batch that comes next.

    Args:
        dataset: The samples; it has a length.
        batch_size: Samples in a batch of one rank.
        seed: Seed of the order.
        trainer: Tells rank and number of ranks; None means a single process. A data module's
            `self.trainer` is it.
        sampler: Takes the place of the shuffled order (Lightning's `overfit_batches` does so).
        with_epoch: Ask the dataset for `(epoch, index)` in place of `index`, so that what it draws
            can be a function of both, in worker processes too. A `sampler` asks as it likes.
        arrange: Puts the numbers that a rank has in an epoch into another order, by
            `(epoch, numbers) -> numbers`, a function of both: samples of like length into one
            batch, say. None leaves them as they were shuffled.
        options: Further arguments of torch's `DataLoader`.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int = 1,
        *,
        seed: int = 0,
        trainer: Trainer | None = None,
        sampler: Sampler[Any] | None = None,
        with_epoch: bool = False,
        arrange: _Arrange | None = None,
        **options: Any,
    ) -> None:
        # By these names Lightning makes the loader again.
        self.seed, self.trainer, self.with_epoch, self.arrange = seed, trainer, with_epoch, arrange
        self._epoch = self._n_batches = 0  # given out so far
        self._resume_from: tuple[int, int] | None = None
        if sampler is None:
            sampler = _EpochSampler(
                dataset,
                num_replicas=trainer.world_size if trainer else 1,
                rank=trainer.global_rank if trainer else 0,
                shuffle=True,
                seed=seed,
            )
            sampler.with_epoch, sampler.arrange = with_epoch, arrange
        super().__init__(dataset, batch_size=batch_size, sampler=sampler, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator, so that workers fetch nothing before Lightning has told the epoch.
        epoch, n_done = self._resume_from or (-1, 0)
        self._resume_from = None
        self._n_batches = 0
        if isinstance(self.sampler, _EpochSampler):
            self._epoch = self.sampler.epoch
            if epoch == self._epoch:
                self._n_batches = n_done
                self.sampler.n_skipped = n_done * (self.batch_size or 1)
        for batch in super().__iter__():
            self._n_batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were given out."""
        return {"epoch": self._epoch, "n_batches": self._n_batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin behind the batches that were given out, if the same epoch comes next."""
        self._resume_from = state["epoch"], state["n_batches"]


class _EpochSampler(DistributedSampler[Any]):
    """Torch's sampler, which may leave out what was seen: once, in the epoch that comes next."""

    n_skipped = 0
    with_epoch = False
    arrange: _Arrange | None = None

    def __iter__(self) -> Iterator[Any]:
        n_skipped, self.n_skipped = self.n_skipped, 0
        order: Iterator[int] = super().__iter__()
        if self.arrange is not None:
            order = self._arranged(self.arrange, list(order))
        numbers = islice(order, n_skipped, None)
        return ((self.epoch, i) for i in numbers) if self.with_epoch else numbers

    def _arranged(self, arrange: _Arrange, numbers: Sequence[int]) -> Iterator[int]:
        """Return the numbers as they are arranged, and see that none is missing at the end."""
        n_found = 0
        for number in arrange(self.epoch, numbers):
            n_found += 1
            yield number
        if n_found != len(numbers):
            raise ValueError(
                f"`EpochDataLoader.arrange` must return the {len(numbers)} numbers that it is "
                f"given, in another order, but returned {n_found} in epoch {self.epoch}."
            )


def batch_options(num_workers: int = 0) -> dict[str, Any]:
    """Return what a loader is told of samples whose `__getitems__` makes whole batches.

    Args:
        num_workers: Processes that make them; they are kept from epoch to epoch.
    """
    return {
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "collate_fn": _whole,
    }


def _whole(batch: Any) -> Any:
    return batch


DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Precisions of batches, by the name that a data module's `dtype` gives them."""

_LEAST = {"seed": 0, "batch_size": 1, "eval_batch_size": 1, "num_workers": 0}


def check_data_arguments(
    data: Any,
    least: Mapping[str, tuple[int, int]],
    choices: Mapping[str, tuple[str, Collection[str]]] | None = None,
) -> None:
    """Refuse arguments of a data module that are out of range, in one line.

    Its `seed`, `batch_size`, `eval_batch_size`, `num_workers` and `dtype` are checked, too, where
    it has them.

    Args:
        data: The data module, with its arguments as attributes.
        least: Of further whole numbers, by the argument's name, the value and the least one.
        choices: Of further texts, by the argument's name, the value and those allowed.

    Raises:
        ValueError: If one is.
    """
    owner = type(data).__name__
    shared = {name: (getattr(data, name), n) for name, n in _LEAST.items() if hasattr(data, name)}
    for name, (value, minimum) in {**least, **shared}.items():
        if value < minimum:
            raise ValueError(f"`{owner}.{name}` must be at least {minimum}, got {value}.")
    if getattr(data, "seed", 0) >= 2**63:  # the generator of the order of training takes no more
        raise ValueError(f"`{owner}.seed` must be below 2**63, got {data.seed}.")
    dtype = {"dtype": (data.dtype, DTYPES)} if hasattr(data, "dtype") else {}
    for name, (given, allowed) in {**(choices or {}), **dtype}.items():
        if given not in allowed:
            raise ValueError(f"`{owner}.{name}` must be {' or '.join(allowed)}, got {given!r}.")
