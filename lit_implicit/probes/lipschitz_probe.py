"""The local Lipschitz constant of x -> y_t(x) against t, measured over batches."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective, Mode
from lit_implicit.probes.directions import directions_of
from lit_implicit.probes.double import DoubleCopy
from lit_implicit.probes.jacobian_lipschitz import jacobian_slopes
from lit_implicit.probes.lipschitz_curve import Estimator, LipschitzCurve
from lit_implicit.probes.pairs import pair_slopes
from lit_implicit.probes.probe import AbstractProbe
from lit_implicit.probes.statistics import largest_along
from lit_implicit.probes.worst_pair import worst_pair_slopes
from lit_implicit.solvers import AbstractSolver, Picard


class LipschitzCurveProbe(AbstractProbe):
    """Collect the Lipschitz curve of a model over batches; samples are merged over ranks.

    Each estimator is a function of its own: `pair_slopes`, `jacobian_slopes`, `worst_pair_slopes`.
    Where the input is one number per sample, the Jacobian's direction does not matter and its value
    is exact. The slope of the labels is that of the modes' pairs, as their function is not at hand.

    Args:
        n_iter: Number T of iterations.
        modes: The objective's modes, `objective.modes`.
        solver: The iteration; None means plain Picard iteration. `jacobian` and `worst_pair` know
            Picard iteration alone.
        double: Compute in float64, on a copy of the model.
        seed: Seed of starts and, where the task draws them here, of perturbations.
        estimators: Which of `pairs`, `jacobian`, `worst_pair`.
        refine: Reverse sweeps that turn the Jacobian's directions towards the steepest at T.
        worst_pair_at: The t of `worst_pair`; None means those of 1, 5 and 20 up to T.
        worst_pair_steps: Steps of its ascent.

    Raises:
        ValueError: If there is no mode, a number is out of range, an estimator unknown, or the
            solver does not suit it.

    Example:
        >>> probe = LipschitzCurveProbe(50, objective.modes, estimators=("pairs", "jacobian"))
        >>> for batch in loader:
        ...     probe.update(equilibrium, objective, batch)
        >>> curve = probe.compute()
    """

    def __init__(
        self,
        n_iter: int,
        modes: Mapping[str, Mode],
        solver: AbstractSolver | None = None,
        double: bool = True,
        seed: int = 0,
        estimators: Sequence[Estimator] = ("pairs",),
        refine: int = 0,
        worst_pair_at: Sequence[int] | None = None,
        worst_pair_steps: int = 20,
    ) -> None:
        super().__init__(seed)
        self.n_iter, self.modes, self.solver = n_iter, dict(modes), solver
        self.double_precision, self.estimators = double, tuple(estimators)
        self.refine, self.worst_pair_steps = refine, worst_pair_steps
        listed = (1, 5, 20) if worst_pair_at is None else worst_pair_at
        self.worst_pair_at = [t for t in listed if worst_pair_at is not None or t <= n_iter]
        self._check()
        self._copy = DoubleCopy()
        for mode in modes:
            self.add_samples(f"target_slopes_{mode}")
            for estimator in ("pairs", "jacobian"):
                if estimator in self.estimators:
                    self.add_samples(f"{estimator}_{mode}", n_iter + 1)
        if "worst_pair" in self.estimators:
            self.add_samples("worst_pair", len(self.worst_pair_at))

    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Measure a batch in all modes.

        Raises:
            ObjectiveError: If an estimator needs leaves and the objective defines none.
        """
        generator = torch.Generator().manual_seed(seed)
        perturbed = {mode: objective.perturb(batch, mode, generator) for mode in self.modes}
        target = objective.target(batch)
        for mode, p in perturbed.items():
            labels = objective.distance(objective.target(p.batch), target, batch) / p.size
            self.keep(**{f"target_slopes_{mode}": labels[p.valid]})
        model = self._copy.of(equilibrium) if self.double_precision else equilibrium
        settings: dict[str, Any] = {
            "solver": self.solver,
            "double": self.double_precision,
            "seed": seed,
        }
        # A mode without a sample costs as much as any other: T calls of G, in vain.
        perturbed = {mode: p for mode, p in perturbed.items() if bool(p.valid.any())}
        if not perturbed:
            return
        if "pairs" in self.estimators:
            pairs = pair_slopes(model, objective, batch, perturbed, self.n_iter, **settings)
            for mode, p in perturbed.items():
                self.keep(**{f"pairs_{mode}": pairs[mode].T[p.valid]})
        if self.estimators == ("pairs",):
            return
        directions = directions_of(objective, batch, perturbed)
        if "jacobian" in self.estimators:
            for mode, p in perturbed.items():
                d, size = directions[mode], p.size
                if len(d) == 1 and d[0].numel() == objective.n_samples(batch):
                    d, size = [torch.ones_like(d[0])], torch.ones_like(size)
                slopes = jacobian_slopes(
                    model, objective, batch, self.n_iter, d, refine=self.refine, **settings
                )
                self.keep(**{f"jacobian_{mode}": (slopes / size).T[p.valid]})
        if "worst_pair" in self.estimators:
            slopes = worst_pair_slopes(
                model, objective, batch, self.worst_pair_at, self.worst_pair_steps,
                directions=list(directions.values()), **settings,
            )  # fmt: skip
            self.keep(
                worst_pair=slopes.T[torch.stack([p.valid for p in perturbed.values()]).any(0)]
            )

    def result(self) -> LipschitzCurve:
        """Return the curve over all samples seen; a mode without a valid one is left out."""
        curves: dict[str, dict[str, Tensor]] = {"pairs": {}, "jacobian": {}}
        target_slopes, n_samples, nonfinite = {}, {}, []
        aggregates: dict[str, str] = {}
        counted = next((name for name in curves if name in self.estimators), None)
        for name, mode in self.modes.items():
            labels = self.kept(f"target_slopes_{name}")
            if len(labels) == 0:
                continue
            n_samples[name], aggregates[name] = len(labels), mode.aggregate
            target_slopes[name] = float(labels.max() if mode.aggregate == "max" else labels.mean())
            for estimator, curve in curves.items():
                if estimator in self.estimators:
                    values = self.kept(f"{estimator}_{name}")
                    curve[name] = _aggregate(values, mode.aggregate)
                    if estimator == counted:
                        nonfinite.append(~values.isfinite())
        if nonfinite:
            share = torch.cat(nonfinite).float().mean(0)
        else:
            share = torch.full((self.n_iter + 1,), torch.nan if n_samples else 1.0)
        together = "mean" if {m.aggregate for m in self.modes.values()} == {"mean"} else "max"
        worst = None
        if "worst_pair" in self.estimators:
            values = self.kept("worst_pair")
            worst = values.new_full((self.n_iter + 1,), torch.nan)
            if len(values):
                worst[self.worst_pair_at] = _aggregate(values, together)
        return LipschitzCurve(
            curves["pairs"], target_slopes, share, n_samples, aggregates, curves["jacobian"],
            worst, together, self.refine,
        )  # fmt: skip

    def reset(self) -> None:
        """Forget all samples, and the copy of the model."""
        super().reset()
        self._copy.forget()

    def _check(self) -> None:
        name, known = type(self).__name__, get_args(Estimator)
        if self.n_iter < 1:
            raise ValueError(f"`{name}.n_iter` must be at least 1, got {self.n_iter}.")
        if not self.modes:
            raise ValueError("The objective has no modes of perturbation: no pairs can be formed.")
        if not self.estimators or not set(self.estimators) <= set(known):
            raise ValueError(
                f"`{name}.estimators` must be some of {', '.join(known)}, got "
                f"{list(self.estimators)}."
            )
        if set(self.estimators) != {"pairs"} and not isinstance(self.solver, Picard | None):
            raise ValueError(
                f"`{name}.solver` is {self.solver!r}, but the estimators jacobian and worst_pair "
                "follow Picard iteration alone. Name a `Picard` or none, or leave `pairs` only."
            )
        if not all(0 <= t <= self.n_iter for t in self.worst_pair_at):
            raise ValueError(
                f"`{name}.worst_pair_at` must lie in 0..{self.n_iter}, got {self.worst_pair_at}."
            )


def _aggregate(values: Tensor, how: str) -> Tensor:
    """Reduce over samples, the first axis, of what is finite; NaN where nothing is."""
    if how == "max":
        return largest_along(values, 0)
    return values.where(values.isfinite(), torch.nan).nanmean(0)
