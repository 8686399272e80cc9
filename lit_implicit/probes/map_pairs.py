"""The maps z -> G(z, x) of a batch and of its perturbations, side by side."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.errors import ConfigError
from lit_implicit.layout import Mask, PerSample
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import FixedPointMap
from lit_implicit.probes.double import widen, widened
from lit_implicit.tree import map_tensors


@dataclass(frozen=True, eq=False)
class Pair:
    """The map of a batch, and that of its inputs perturbed by d.

    Args:
        g: z -> G(z, x).
        moved: z -> G(z, x + d), of the same layout.
        size: |d| of each sample, shape `(n,)`.
        valid: Samples whose perturbed problem has a solution, shape `(n,)`, boolean.
        target_slope: |F(x + d) - F(x)| / |d| of the targets, shape `(n,)`.
    """

    g: FixedPointMap
    moved: FixedPointMap
    size: PerSample
    valid: Mask
    target_slope: PerSample

    def select(self, keep: Mask) -> "Pair":
        """Return the pair for the samples in `keep` alone."""
        g, moved = self.g.select(keep), self.moved.select(keep)
        return Pair(g, moved, self.size[keep], self.valid[keep], self.target_slope[keep])


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A model to measure: a copy in evaluation mode without gradients, bound to own inputs.

    Args:
        equilibrium: The copy.
        double: Whether inputs are cast to float64, as the copy was.
        seed: Seed of starts and perturbations that are drawn.
    """

    equilibrium: Equilibrium
    double: bool
    seed: int

    @classmethod
    def of(cls, equilibrium: Equilibrium, double: bool, seed: int) -> "FrozenModel":
        """Copy a model, to float64 if asked and if its device has it."""
        operator = copy.deepcopy(equilibrium.operator).eval().requires_grad_(False)
        wide = widen(operator) if double else operator
        return cls(Equilibrium(wide, equilibrium.solver), double, seed)

    def bind(self, x: Any) -> tuple[FixedPointMap, Tensor]:
        """Return the map z -> G(z, x) and its start."""

        def own(tensor: Tensor) -> Tensor:
            wide = widened(tensor) if self.double else tensor
            # A clone even so: tensors of inference mode can carry no derivative.
            return wide.clone() if wide is tensor else wide

        return self.equilibrium.bind(map_tensors(own, x), seed=self.seed)

    def pairs(
        self, g: FixedPointMap, objective: AbstractObjective, batch: Any, modes: Sequence[str]
    ) -> list[Pair]:
        """Return a pair for each mode, none of it valid where the data hold no perturbations.

        Args:
            g: The map of the batch.
            objective: Perturbs the batch.
            batch: The samples.
            modes: Names of modes of the objective.
        """
        generator = torch.Generator().manual_seed(self.seed)
        return [self._pair(g, objective, batch, mode, generator) for mode in modes]

    def _pair(
        self,
        g: FixedPointMap,
        objective: AbstractObjective,
        batch: Any,
        mode: str,
        generator: torch.Generator,
    ) -> Pair:
        target = objective.target(batch)
        try:
            moved = objective.perturb(batch, mode, generator)
        except ConfigError:  # where slopes are all that is wanted, an error; here, one part of many
            nothing = target.new_full((g.layout.n,), torch.nan)
            return Pair(g, g, nothing, torch.zeros_like(nothing).bool(), nothing)
        change = objective.distance(objective.target(moved.batch), target, batch)
        g_moved, _ = self.bind(objective.inputs(moved.batch))
        return Pair(g, g_moved, moved.size, moved.valid & (moved.size > 0), change / moved.size)
