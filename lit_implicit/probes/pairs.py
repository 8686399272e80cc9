"""Slopes of x -> y_t(x) between a sample and its perturbations."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective, Perturbed
from lit_implicit.probes.double import double_input, double_model
from lit_implicit.probes.iterates import iterates
from lit_implicit.solvers import AbstractSolver


@torch.no_grad()
def pair_slopes(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    perturbed: Mapping[str, Perturbed],
    n_iter: int,
    *,
    solver: AbstractSolver | None = None,
    double: bool = True,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return |y_t(x + d) - y_t(x)| / |d| of each sample and mode, all t in one pass.

    The clean and the perturbed problems are iterated side by side, from starts drawn alike.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: Says how answers differ.
        batch: The samples.
        perturbed: Their perturbations by mode, as `objective.perturb` makes them.
        n_iter: Number T of iterations.
        solver: The iteration; None means plain Picard iteration.
        double: Compute in float64, on a copy of the operator where it is not in float64 already:
            ratios of small differences drown in float32 rounding.
        seed: Seed of starts that are drawn.

    Returns:
        Slopes by mode, each of shape `(T + 1, n)`; NaN for pairs that are not valid.

    Example:
        >>> pairs = {mode: objective.perturb(batch, mode) for mode in objective.modes}
        >>> pair_slopes(layer, objective, batch, pairs, n_iter=50)["x"].nanmean(1)  # over samples
    """
    model = double_model(equilibrium) if double else equilibrium

    def run(some_batch: Any) -> Any:
        x = objective.inputs(some_batch)
        return iterates(model, double_input(x) if double else x, n_iter, solver, seed)

    runs = {mode: run(p.batch) for mode, p in perturbed.items()}
    slopes: dict[str, list[Tensor]] = {mode: [] for mode in perturbed}
    for clean in run(batch):
        for mode, p in perturbed.items():
            moved = objective.distance(next(runs[mode]).y, clean.y, batch)
            slope = (moved / p.size).to(widest_dtype(moved.device))
            slopes[mode].append(slope.where(p.valid, torch.nan))
    return {mode: torch.stack(values) for mode, values in slopes.items()}
