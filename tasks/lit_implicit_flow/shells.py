"""Positive functions of the wavenumber that are learned: the same ones at any resolution."""

import torch
from torch import Tensor, nn


class ShellTable(nn.Module):
    """A positive function of |k|: its logarithm is learned at |k| = 1, 2, ... and linear between.

    Beyond the last shell it is constant.

    Args:
        n_shells: Number of shells, at least 1.
        value: What it is everywhere to begin with, positive.
    """

    def __init__(self, n_shells: int, value: float = 1.0) -> None:
        super().__init__()
        self.log_values = nn.Parameter(torch.full((n_shells,), value).log())

    def forward(self, square: Tensor) -> Tensor:
        """Return its values, in the weights' precision.

        Args:
            square: |k|^2, of any shape; below 1 counts as 1.
        """
        last = len(self.log_values) - 1
        place = (square.to(self.log_values.dtype).clamp_min(1).sqrt() - 1).clamp_max(last)
        lower = place.floor().long()
        low, high = self.log_values[lower], self.log_values[(lower + 1).clamp_max(last)]
        values: Tensor = torch.lerp(low, high, place - lower).exp()
        return values
