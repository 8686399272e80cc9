"""Each sample counts once in validation and test, also where ranks do not divide their number."""

from typing import Any

from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler


def shorten_samplers(strategy: Strategy, trainer: Any) -> None:
    """Let no evaluation of a trainer see a sample twice.

    `DistributedSampler` deals samples out in turn and repeats the first ones until all ranks have
    equally many. For training that is right: each step has a part from each rank. Evaluation needs
    no equal numbers, as metrics are reduced once, at the end of the epoch. So the repeated ones go,
    as Lightning has it for `predict`, and a rank may have a batch less than others. DDP itself
    broadcasts buffers in the first forward of an evaluation alone; for that, and for the reduction
    at the end, every rank needs a batch. Where there are fewer samples than ranks, some stay
    repeated, with a warning.

    Args:
        strategy: The trainer's strategy. Only plain DDP is changed: what shards a model
            communicates in every forward.
        trainer: The trainer.
    """
    if type(strategy) is not DDPStrategy:
        return
    process = strategy.process_dataloader

    def process_dataloader(dataloader: object) -> object:
        dataloader = process(dataloader)
        if trainer.training or not isinstance(dataloader, DataLoader):
            return dataloader
        # A loader made from a batch sampler has another sampler, which it does not use.
        sampler = getattr(dataloader.batch_sampler, "sampler", dataloader.sampler)
        # No class of a user's own: it may deal out otherwise.
        drops = getattr(dataloader.batch_sampler, "drop_last", False)  # a rank may keep no batch
        if type(sampler) in (DistributedSampler, DistributedSamplerWrapper) and not drops:
            _shorten(sampler)
        return dataloader

    strategy.process_dataloader = process_dataloader  # type: ignore[method-assign]


def _shorten(sampler: Any) -> None:
    n, n_ranks = len(sampler.dataset), sampler.num_replicas
    if sampler.drop_last or n == 0 or sampler.total_size <= n:
        return
    if n < n_ranks:
        rank_zero_warn(
            f"This evaluation counts {n_ranks - n} samples more than the {n} that there are, as "
            f"each of {n_ranks} processes needs one. Evaluate on at most {n} processes."
        )
        return
    sampler.total_size = n
    sampler.num_samples = len(range(sampler.rank, n, n_ranks))
