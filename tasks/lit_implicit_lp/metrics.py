"""Measures of an answer to linear programs, per program, and their means over all programs.

An answer is a tensor of all solutions y, or an `LPSolution`.
"""

from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.layout import Ragged
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import primal_residual
from lit_implicit_lp.solution import primal


def violation(answer: Any, batch: Any) -> Tensor:
    """Return by how much y breaks constraints and bounds, shape `(n,)`.

    The 2-norm of all excesses of a program, relative to `1 + |b|`: `KKT.primal`.
    """
    x = LPFeatures.of(batch)
    return primal_residual(x, x.matrix(), primal(answer))


def objective_value(answer: Any, batch: Any) -> Tensor:
    """Return c @ y of each program, shape `(n,)`."""
    return Ragged(batch.batch, batch.num_graphs).dot(batch.c, primal(answer))


def relative_error(answer: Any, batch: Any) -> Tensor:
    """Return `|y - y*| / (|y*| + 1)` of each program, in 2-norms, shape `(n,)`."""
    layout = Ragged(batch.batch, batch.num_graphs)
    return layout.norm(primal(answer) - batch.target) / (layout.norm(batch.target) + 1)


class _MeanOverPrograms(Metric):
    """A mean over all programs of all batches and ranks, never a mean of means.

    The values themselves are kept, one number per program: a running sum would need float64, which
    not every device has.
    """

    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def compute(self) -> Tensor:
        """Return the mean."""
        return dim_zero_cat(self.values).mean()


class Violation(_MeanOverPrograms):
    """Mean over programs of `violation`."""

    def update(self, preds: Any, batch: Any) -> None:
        """Add the programs of a batch."""
        self.values.append(violation(preds, batch))


class ObjectiveGap(_MeanOverPrograms):
    """Mean over programs of `|c y - c y*| / (1 + |c y*|)`."""

    def update(self, preds: Any, batch: Any) -> None:
        """Add the programs of a batch."""
        gap = (objective_value(preds, batch) - batch.objective).abs()
        self.values.append(gap / (1 + batch.objective.abs()))


class ErrorSpread(_MeanOverPrograms):
    """Standard deviation over programs of `relative_error`."""

    def update(self, preds: Any, batch: Any) -> None:
        """Add the programs of a batch."""
        self.values.append(relative_error(preds, batch))

    def compute(self) -> Tensor:
        """Return the standard deviation, that of the programs seen and not of a population."""
        return dim_zero_cat(self.values).std(correction=0)
