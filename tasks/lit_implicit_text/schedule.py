"""A learning rate that rises at first and then falls, and stays low in longer training."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosineLR(LambdaLR):
    """Rise from 4 % of the optimizer's rate to all of it, then fall to 1 % by a cosine, and stay.

    Steps are epochs, as the command line takes them. Unlike `OneCycleLR` it has no end: training
    longer than `total` goes on with the last rate.

    Args:
        optimizer: The optimizer; its learning rate is the highest.
        warmup: Steps of the rise, at least 0.
        total: Steps of rise and fall together, above `warmup`.

    Raises:
        ValueError: If the steps are out of range.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        if not 0 <= warmup < total:
            raise ValueError(
                "`WarmupCosineLR` needs `warmup` from 0 on and `total` above it, got "
                f"{warmup} and {total}."
            )
        self.warmup, self.total = warmup, total
        super().__init__(optimizer, self.share)

    def share(self, step: int) -> float:
        """Return the share of the highest rate at a step."""
        if step < self.warmup:
            return 0.04 + 0.96 * step / self.warmup
        fallen = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return 0.01 + 0.99 * (1 + math.cos(math.pi * fallen)) / 2
