"""Measures of an approximate solution, per program, and their means over all programs."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_implicit.layout import Ragged


def violation(y: Tensor, batch: Any) -> Tensor:
    """Return by how much `y` breaks constraints and bounds, shape `(n,)`.

    The 2-norm of all excesses of a program, relative to `1 + |b|`, as LP solvers measure it.
    """
    n = batch.num_graphs
    rows, columns = batch.edge_index
    activity = torch.zeros_like(batch.b).index_add(0, rows, batch.coefficients * y[columns])
    excess = activity - batch.b
    excess = torch.where(batch.is_equality.bool(), excess.abs(), excess.clamp(min=0))
    outside = (batch.lower - y).clamp(min=0) + (y - batch.upper).clamp(min=0)
    constraints = Ragged(batch.constraint_batch, n)
    squares = constraints.dot(excess, excess) + Ragged(batch.batch, n).dot(outside, outside)
    return squares.sqrt() / (1 + constraints.norm(batch.b))


def objective_value(y: Tensor, batch: Any) -> Tensor:
    """Return `c @ y` of each program, shape `(n,)`."""
    return Ragged(batch.batch, batch.num_graphs).dot(batch.c, y)


class _MeanOverPrograms(Metric):
    """A mean over all programs of all batches and ranks, never a mean of means."""

    full_state_update = False
    total: Tensor
    n_programs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n_programs", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        self.total += values.double().sum()
        self.n_programs += len(values)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.n_programs


class Violation(_MeanOverPrograms):
    """Mean over programs of `violation`."""

    def update(self, preds: Tensor, batch: Any) -> None:
        """Add the programs of a batch."""
        self._add(violation(preds, batch))


class ObjectiveGap(_MeanOverPrograms):
    """Mean over programs of `|c y - c y*| / (1 + |c y*|)`."""

    def update(self, preds: Tensor, batch: Any) -> None:
        """Add the programs of a batch."""
        gap = (objective_value(preds, batch) - batch.objective).abs()
        self._add(gap / (1 + batch.objective.abs()))


class ErrorSpread(_MeanOverPrograms):
    """Standard deviation over programs of the error `|y - y*| / (|y*| + 1)`."""

    squares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, batch: Any) -> None:
        """Add the programs of a batch."""
        layout = Ragged(batch.batch, batch.num_graphs)
        error = layout.norm(preds - batch.target) / (layout.norm(batch.target) + 1)
        self._add(error)
        self.squares += error.double().square().sum()

    def compute(self) -> Tensor:
        """Return the standard deviation, that of the programs seen and not of a population."""
        mean = super().compute()
        return (self.squares / self.n_programs - mean**2).clamp(min=0).sqrt()
