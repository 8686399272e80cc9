"""How far an answer is from the true flow, and from the equation, flow by flow."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit_flow.equation import relative_residual, velocity


def relative_error(y: Tensor, target: Tensor) -> Tensor:
    """Return |y - target| / |target| in 2-norms over all but the first axis, shape `(n,)`."""
    return norm(y - target) / norm(target)


def velocity_error(y: Tensor, target: Tensor) -> Tensor:
    """Return the relative error of the velocities of two vorticities, shape `(n,)`.

    Args:
        y: Shape `(n, 1, N, N)`.
        target: Shape `(n, 1, N, N)`.
    """
    y = y.to(target.dtype)
    return relative_error(velocity(y[:, 0]), velocity(target[:, 0]))


def equation_residual(y: Tensor, batch: Any) -> Tensor:
    """Return |u . grad w - nu Lap w - curl f| / |curl f| of answers, in the equation's units.

    Args:
        y: Answers, shape `(n, 1, N, N)`.
        batch: The `FlowBatch`; its target plays no part.
    """
    x = batch.x
    return relative_residual(x.physical_vorticity(y), x.physical_force(), x.viscosity)


def norm(fields: Tensor) -> Tensor:
    """Return the 2-norm of each sample, shape `(n,)`."""
    size: Tensor = torch.linalg.vector_norm(fields.flatten(1), dim=1)
    return size


class MeanOverFlows(Metric):
    """A mean over all flows of all batches and ranks, never a mean of means.

    Args:
        measure: From answers and a batch to one number per flow.
    """

    full_state_update = False
    values: list[Tensor]

    def __init__(self, measure: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.measure = measure
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, preds: Any, batch: Any) -> None:
        """Add the flows of a batch."""
        self.values.append(self.measure(preds, batch))

    def compute(self) -> Tensor:
        """Return the mean."""
        return dim_zero_cat(self.values).mean()
