"""What an audit found: numbers about samples, and what follows from them."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lit_implicit.probes.audit_verdict import sentences

RISE = 1.02
"""An error at the end above this many times its minimum has risen."""

PATH_TOLERANCE = 1e-3
"""Relative difference up to which two runs have ended at the same state."""

FEW = 0.01
"""Share of the samples that may fail a check before the verdict falls against the model."""


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class EquilibriumAudit:
    """Curves over t = 0..T, shape `(T + 1,)`, and numbers; shares are of all samples.

    Args:
        error_mean: Mean task error of the samples that stay finite.
        relative_residual: Median of |G(z_t) - z_t| / |G(z_t)| of these samples.
        converged: Share of the samples whose relative residual is at most `rtol`.
        nonfinite: Share of the samples whose iterate is not finite.
        path_difference: Median of the relative distance from z_T, over finite samples, of the
            random start that is the farthest off at t.
        path_difference_q90: Its 90 % quantile.
        path_differences: The same of each finite sample at T, shape `(n,)`.
        still_falling: Share of the samples that have not converged at T, but whose residual falls.
        stuck: Share of the samples whose residual does not fall any more: cycles, expansions.
        ever_nonfinite: Share of the samples that are not finite at some t.
        rate: Median over samples of the factor by which the residual falls in an iteration, over
            the last half of the run or of what precedes rounding; NaN where none can be measured.
        path_independent: Share of the samples that end, from all starts, at the same state.
        approaching: Share of the samples of which some run ends elsewhere, but comes closer.
        elsewhere: Share of the samples of which some run ends elsewhere and stays there.
        error_from_random: Mean task error at T from random starts.
        batch_difference: Largest relative difference that batch mates make to G; None if untested.
        batch_tolerance: Up to here it is rounding.
        rounding: Machine precision of the states.
        rtol: The tolerance behind `converged`.
        train_max_iter: The training depth.
        n_starts: Number of random starts.
        n_samples: Number of samples.
        iteration: The iteration, in words.
        training: How the model was trained, in words.
    """

    error_mean: Tensor
    relative_residual: Tensor
    converged: Tensor
    nonfinite: Tensor
    path_difference: Tensor
    path_difference_q90: Tensor
    path_differences: Tensor
    still_falling: float
    stuck: float
    ever_nonfinite: float
    rate: float
    path_independent: float
    approaching: float
    elsewhere: float
    error_from_random: float
    batch_difference: float | None
    batch_tolerance: float
    rounding: float
    rtol: float
    train_max_iter: int
    n_starts: int
    n_samples: int
    iteration: str
    training: str

    @property
    def n_iter(self) -> int:
        """Number T of iterations."""
        return len(self.error_mean) - 1

    @property
    def t_least(self) -> int:
        """The t at which the mean error is least."""
        return int(self.error_mean.nan_to_num(torch.inf).argmin())

    @property
    def over_iteration(self) -> float:
        """The mean error at T as a multiple of the least over all t.

        1 where both are rounding, NaN where no sample stays finite.
        """
        return self._rise(self.error_mean)

    @property
    def error_rises(self) -> bool:
        """Whether the error at T is above the least over all t, by more than 2 %."""
        return self.over_iteration > RISE

    @property
    def error_rises_past_training(self) -> bool:
        """Whether it is above the least from the training depth on: what was trained is not kept.

        Where only an iterate before the training depth is better, the model may well be the
        equilibrium that it was trained to be.
        """
        return self._rise(self.error_mean[self.train_max_iter :]) > RISE

    @property
    def is_equilibrium(self) -> bool | None:
        """Whether all checks passed; None where nothing failed, but not all samples are there."""
        depends = self.batch_difference is not None and self.batch_difference > self.batch_tolerance
        failed = max(self.stuck + self.ever_nonfinite, self.elsewhere) > FEW
        if self.error_rises_past_training or failed or depends:
            return False
        return None if max(self.still_falling, self.approaching) > FEW else True

    def _rise(self, errors: Tensor) -> float:
        """The last of some errors by their least."""
        least, end = errors.nan_to_num(torch.inf).min(), errors[-1]
        if end.isnan():
            return math.nan
        # A minimum of zero is as good as any other that rounding allows.
        if not end > least + 100 * self.rounding * self.error_mean.max():
            return 1.0
        return float(end / least.clamp(min=torch.finfo(end.dtype).tiny))

    @property
    def verdict(self) -> str:
        """The outcome in words, with its numbers: a line, then one for each check."""
        return "\n".join(sentences(self))

    def columns(self) -> dict[str, list[float]]:
        """Return the curves as columns of a table, the first being `t`."""
        curves = {f.name: getattr(self, f.name) for f in fields(self)}
        columns = {
            name: curve.tolist()
            for name, curve in curves.items()
            if isinstance(curve, Tensor) and name != "path_differences"
        }
        return {"t": [float(t) for t in range(self.n_iter + 1)], **columns}

    def numbers(self) -> dict[str, float | int | str | bool | None]:
        """Return all that is no curve, by name."""
        names = [f.name for f in fields(self) if not isinstance(getattr(self, f.name), Tensor)]
        derived = ["n_iter", "t_least", "over_iteration", "error_rises_past_training"]
        derived.append("is_equilibrium")
        return {name: getattr(self, name) for name in names + derived}
