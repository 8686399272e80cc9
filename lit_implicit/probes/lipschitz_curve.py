"""The local Lipschitz constant of x -> y_t(x), estimated from below by pairs of nearby inputs."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective, Mode
from lit_implicit.probes.iterates import iterates
from lit_implicit.solvers import AbstractSolver
from lit_implicit.tree import map_tensors


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class LipschitzCurve:
    """Estimates of L_t, t = 0..T, for each mode of perturbation.

    Args:
        slopes: |y_t(x + d) - y_t(x)| / |d| by mode, aggregated over samples as the mode says;
            each of shape `(T + 1,)`. An estimate from below.
        target_slopes: The same quotient of the targets, by mode: what L_t rises towards.
        nonfinite: Share of pairs, over all modes, whose quotient is not finite at t: an iterate
            diverged. They are left out of `slopes`. Shape `(T + 1,)`.
        n_samples: Number of pairs by mode.
        aggregates: `max` or `mean`, by mode.
    """

    slopes: dict[str, Tensor]
    target_slopes: dict[str, float]
    nonfinite: Tensor
    n_samples: dict[str, int]
    aggregates: dict[str, str]

    def columns(self) -> dict[str, list[float]]:
        """Return the curve as columns of a table, the first being `t`."""
        columns = {f"lipschitz_{mode}": values.tolist() for mode, values in self.slopes.items()}
        columns["nonfinite"] = self.nonfinite.tolist()
        return {"t": [float(t) for t in range(len(self.nonfinite))], **columns}


class LipschitzCurveProbe(Metric):
    """Collect the Lipschitz curve of a model over batches by pairs in the objective's modes.

    The clean and the perturbed problems are iterated side by side, all t in one pass, from starts
    drawn alike. Ratios of small differences drown in float32 rounding, so the model is copied to
    float64 unless told otherwise.

    Args:
        n_iter: Number T of iterations.
        modes: The objective's modes, `objective.modes`.
        solver: The iteration; None means plain Picard iteration.
        double: Compute in float64.
        seed: Seed of starts and, where the task draws them here, of perturbations.

    Raises:
        ValueError: If there is no mode, or `n_iter` is below 1.
    """

    full_state_update = False

    def __init__(
        self,
        n_iter: int,
        modes: Mapping[str, Mode],
        solver: AbstractSolver | None = None,
        double: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if n_iter < 1:
            raise ValueError(f"`LipschitzCurveProbe.n_iter` must be at least 1, got {n_iter}.")
        if not modes:
            raise ValueError("The objective has no modes of perturbation: no pairs can be formed.")
        self.n_iter, self.modes, self.solver, self.seed = n_iter, dict(modes), solver, seed
        self.double_precision = double
        for mode in modes:
            self.add_state(f"slopes_{mode}", default=[], dist_reduce_fx="cat")
            self.add_state(f"target_slopes_{mode}", default=[], dist_reduce_fx="cat")

    def update(self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any) -> None:
        """Iterate on a batch and on its perturbations, one per mode."""
        double = self.double_precision and widest_dtype(self.device) == torch.float64
        if double:
            operator = copy.deepcopy(equilibrium.operator).double()
            equilibrium = Equilibrium(operator, equilibrium.solver, equilibrium.adjoint)
        generator = torch.Generator().manual_seed(self.seed + self.update_count)
        perturbed = {mode: objective.perturb(batch, mode, generator) for mode in self.modes}

        def run(some_batch: Any) -> Any:
            x = objective.inputs(some_batch)
            x = _to_double(x) if double else x
            return iterates(equilibrium, x, self.n_iter, self.solver, self.seed)

        runs = {mode: run(p.batch) for mode, p in perturbed.items()}
        slopes: dict[str, list[Tensor]] = {mode: [] for mode in self.modes}
        for clean in run(batch):
            for mode, p in perturbed.items():
                moved = objective.distance(next(runs[mode]).y, clean.y, batch)
                slopes[mode].append(moved / p.size)
        target = objective.target(batch)
        for mode, p in perturbed.items():
            labels = objective.distance(objective.target(p.batch), target, batch) / p.size
            wide = widest_dtype(labels.device)
            getattr(self, f"slopes_{mode}").append(torch.stack(slopes[mode], 1)[p.valid].to(wide))
            getattr(self, f"target_slopes_{mode}").append(labels[p.valid].to(wide))

    def compute(self) -> LipschitzCurve:
        """Return the curve over all pairs seen; a mode without a valid pair is left out."""
        slopes, target_slopes, n_samples, nonfinite = {}, {}, {}, []
        for name, mode in self.modes.items():
            pairs = dim_zero_cat(getattr(self, f"slopes_{name}"))
            labels = dim_zero_cat(getattr(self, f"target_slopes_{name}"))
            if len(pairs) == 0:
                continue
            n_samples[name] = len(pairs)
            nonfinite.append(~pairs.isfinite())
            pairs = pairs.where(pairs.isfinite(), torch.nan)
            largest = pairs.nan_to_num(-torch.inf).amax(0)
            slopes[name] = largest if mode.aggregate == "max" else pairs.nanmean(0)
            target_slopes[name] = float(labels.max() if mode.aggregate == "max" else labels.mean())
        aggregates: dict[str, str] = {n: self.modes[n].aggregate for n in slopes}
        share = torch.cat(nonfinite).float().mean(0) if nonfinite else torch.ones(self.n_iter + 1)
        return LipschitzCurve(slopes, target_slopes, share, n_samples, aggregates)


def _to_double(x: Any) -> Any:
    return map_tensors(lambda t: t.double() if t.is_floating_point() else t, x)
