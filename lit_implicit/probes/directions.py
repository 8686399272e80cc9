"""Directions in the input of a batch: one per sample, each over several tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit.errors import ObjectiveError
from lit_implicit.layout import AbstractLayout, Mask
from lit_implicit.objective import AbstractObjective, Perturbed

Leaves = Sequence[Tensor]


class Directions:
    """The per-sample algebra of directions, a tensor for each leaf of the input.

    Args:
        layouts: How the samples lie in each leaf.
    """

    def __init__(self, layouts: Sequence[AbstractLayout]) -> None:
        self.layouts = list(layouts)

    @classmethod
    def of(cls, objective: AbstractObjective, x: Any) -> "Directions":
        """Return the directions of an input."""
        return cls(objective.leaf_layouts(x))

    def norm(self, d: Leaves) -> Tensor:
        """Return the 2-norm over all leaves of each sample's direction, shape `(n,)`."""
        squares = [layout.dot(part, part) for layout, part in zip(self.layouts, d, strict=True)]
        return torch.stack(squares).sum(0).sqrt()

    def scaled(self, d: Leaves, factor: Tensor) -> list[Tensor]:
        """Return each sample's direction times its factor, of shape `(n,)`."""
        return [
            part * layout.spread(factor, part) for layout, part in zip(self.layouts, d, strict=True)
        ]

    def of_size(self, d: Leaves, size: Tensor, otherwise: Leaves) -> list[Tensor]:
        """Return each sample's direction at another size; another one where it has no size."""
        norm = self.norm(d)
        usable = (norm > 0) & norm.isfinite()
        return self.where(usable, self.scaled(d, size / norm.where(usable, 1.0)), otherwise)

    def where(self, mask: Mask, a: Leaves, b: Leaves) -> list[Tensor]:
        """Return `a` for the samples in `mask`, and `b` for the others."""
        return [
            layout.where(mask, one, other)
            for layout, one, other in zip(self.layouts, a, b, strict=True)
        ]


def directions_of(
    objective: AbstractObjective, batch: Any, perturbed: Mapping[str, Perturbed]
) -> dict[str, list[Tensor]]:
    """Return the perturbation of each leaf, by mode, in the wider precision of the two inputs.

    Raises:
        ObjectiveError: If the objective defines no leaves.
    """
    try:
        leaves = objective.leaves(objective.inputs(batch))
    except TypeError as err:
        raise ObjectiveError(f"The estimators jacobian and worst_pair need leaves: {err}") from err
    moved = {mode: objective.leaves(objective.inputs(p.batch)) for mode, p in perturbed.items()}
    return {
        mode: [b - a for a, b in zip(leaves, parts, strict=True)] for mode, parts in moved.items()
    }
