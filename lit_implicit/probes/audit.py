"""Is what was trained really an equilibrium? Four checks on held-out samples, and a verdict."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.audit_result import PATH_TOLERANCE, EquilibriumAudit
from lit_implicit.probes.audit_runs import batch_difference, long_run, run_from_random
from lit_implicit.probes.audit_verdict import in_words
from lit_implicit.probes.iterates import iteration_of
from lit_implicit.solvers import AbstractSolver

_FALLS = 0.75
"""Largest ratio of the end of a curve to its middle at which it counts as falling.

The middle is its second quarter, the end its last: a curve like 1/t has a ratio of 1/3, a cycle or
a plateau one of 1.
"""


class EquilibriumAuditProbe(Metric):
    """Audit a model over batches; what is kept of each sample is merged over ranks.

    The model is iterated to T = `factor` times its training depth, with stopping off:

    1. *Over-iteration*: the mean error at T is at most 1.02 times its minimum over t. Only a rise
       from the training depth on speaks against the equilibrium; an earlier minimum is reported.
    2. *Convergence*: the relative residual at T is at most `rtol`.
    3. *Path independence*: from Gaussian starts of the size of z_T, the states at T agree with it
       to 1e-3, relative to its size.
    4. *Batch invariance*: G of a sample is the same in other batches, up to the square root of the
       machine precision; compared at the states t = 0, t = 1 and the training depth.

    A model passes if the error does not rise past training, batch mates do not matter and at most
    1 % of the samples fail the second or the third check. Where samples have not come that far but
    still approach, the verdict is "undecided". A fail rests on counterexamples, as far as T
    iterations show them. A pass proves nothing beyond the samples, the starts and the iteration
    that were tried: another start may lead elsewhere, another iteration (an undamped one, say) may
    not converge. The model must be in evaluation mode.

    Args:
        train_max_iter: The training depth, at least 1.
        adjoint: How the model was trained, for the verdict.
        solver: The iteration.
        rtol: Relative residual at which a sample counts as converged; None means that of `solver`.
        factor: T as a multiple of the training depth, at least 2.
        n_starts: Random starts, at least 1.
        max_samples: Most samples of a batch, the first ones; None means all.
        seed: Seed of the starts and the other batches.

    Raises:
        ValueError: If a number is out of range.
    """

    full_state_update = False
    errors: list[Tensor]
    residuals: list[Tensor]
    ratios: list[Tensor]
    distances: list[Tensor]
    random_errors: list[Tensor]
    batch_difference: Tensor
    eps: Tensor

    def __init__(
        self,
        train_max_iter: int,
        adjoint: AbstractAdjoint,
        solver: AbstractSolver,
        rtol: float | None = None,
        factor: int = 10,
        n_starts: int = 3,
        max_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("train_max_iter", train_max_iter, 1),
            ("factor", factor, 2),
            ("n_starts", n_starts, 1),
            ("max_samples", max_samples, 1),
        ):
            if value is not None and value < least:
                raise ValueError(
                    f"`EquilibriumAuditProbe.{name}` must be at least {least}, got {value}."
                )
        self.depth, self.n_iter = train_max_iter, factor * train_max_iter
        self.adjoint, self.solver = adjoint, solver
        self.rtol = solver.rtol if rtol is None else rtol
        self.n_starts, self.max_samples, self.seed = n_starts, max_samples, seed
        for name in ("errors", "residuals", "ratios", "distances", "random_errors"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.add_state("batch_difference", default=torch.tensor(-1.0), dist_reduce_fx="max")
        self.add_state("eps", default=torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any) -> None:
        """Audit the model on one batch.

        Raises:
            TypeError: If `max_samples` asks for a part of a batch that the task cannot select.
        """
        n = objective.n_samples(batch)
        generator = torch.Generator().manual_seed(self.seed + self.update_count)
        if self.max_samples is not None and n > self.max_samples:
            keep = torch.arange(n, device=self.device) < self.max_samples
            batch = objective.select(batch, keep)
        bound = equilibrium.bind(objective.inputs(batch), seed=self.seed)
        problem, g = (equilibrium, objective, batch), bound[0]
        own = long_run(*problem, bound, self.solver, self.depth, self.n_iter)
        others = [
            run_from_random(*problem, g, own.z, self.solver, self.n_iter, generator)
            for _ in range(self.n_starts)
        ]
        wide = widest_dtype(own.errors.device)
        self.errors.append(own.errors.to(wide))
        self.residuals.append(own.residuals.to(wide))
        self.ratios.append(own.ratios.to(wide))
        self.distances.append(torch.stack([run[0] for run in others]).amax(0).to(wide))
        self.random_errors.append(torch.stack([run[1] for run in others], 1).to(wide))
        self.eps = self.eps.clamp(min=torch.finfo(own.z.dtype).eps)
        difference = batch_difference(*problem, g, own.early, generator)
        if difference is not None:
            self.batch_difference = self.batch_difference.maximum(difference.max())

    def compute(self) -> EquilibriumAudit:
        """Return the audit over all samples seen."""
        errors, ratios = dim_zero_cat(self.errors), dim_zero_cat(self.ratios)
        residuals = dim_zero_cat(self.residuals)
        distances, random_errors = dim_zero_cat(self.distances), dim_zero_cat(self.random_errors)
        eps = float(self.eps)
        here = errors.isfinite() & ratios.isfinite()
        sound = here.all(1)
        converged, same = ratios <= self.rtol, distances <= max(PATH_TOLERANCE, 10 * eps)
        slow, nearing = sound & ~converged[:, -1], sound & ~same[:, -1]
        # Not the relative residual: where the iterates grow without bound, it falls too.
        residual_falls, distance_falls = _falls(residuals), _falls(distances)
        shown = [v.where(sound[:, None], torch.nan) for v in (errors, ratios, distances)]
        rounded = float(self.batch_difference)
        return EquilibriumAudit(
            error_mean=shown[0].nanmean(0),
            relative_residual=shown[1].nanquantile(0.5, dim=0),
            converged=_share(converged & here),
            nonfinite=_share(~here),
            path_difference=shown[2].nanquantile(0.5, dim=0),
            path_difference_q90=shown[2].nanquantile(0.9, dim=0),
            path_differences=distances[sound, -1],
            still_falling=float(_share(slow & residual_falls)),
            stuck=float(_share(slow & ~residual_falls)),
            ever_nonfinite=float(_share(~sound)),
            rate=float(_rates(residuals[sound], ratios[sound], eps).nanmedian()),
            path_independent=float(_share(sound & same[:, -1])),
            approaching=float(_share(nearing & distance_falls)),
            elsewhere=float(_share(nearing & ~distance_falls)),
            error_from_random=float(random_errors[random_errors.isfinite()].mean()),
            batch_difference=None if rounded < 0 else rounded,
            batch_tolerance=eps**0.5,
            rounding=eps,
            rtol=self.rtol,
            train_max_iter=self.depth,
            n_starts=self.n_starts,
            n_samples=len(errors),
            iteration=iteration_of(self.solver),
            training=in_words(self.adjoint, self.depth),
        )


def audit(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batches: Iterable[Any],
    train_max_iter: int,
    solver: AbstractSolver | None = None,
    **settings: Any,
) -> EquilibriumAudit:
    """Ask whether a trained model is an equilibrium, on the samples of some batches.

    Args:
        equilibrium: The model, in evaluation mode.
        objective: The problem.
        batches: Batches of the task's data, on the model's device; best held-out ones.
        train_max_iter: The training depth.
        solver: The iteration; None means the equilibrium's own, without its tolerances.
        settings: Further arguments of `EquilibriumAuditProbe`: `rtol`, `factor`, `n_starts`,
            `max_samples`, `seed`.

    Example:
        >>> found = audit(module.test_equilibrium, module.objective, [batch], train_max_iter=12)
        >>> print(found.verdict)
    """
    chosen = equilibrium.solver if solver is None else solver
    probe = EquilibriumAuditProbe(train_max_iter, equilibrium.adjoint, chosen, **settings)
    probe = probe.to(next(equilibrium.parameters(), probe.eps).device)
    for batch in batches:
        probe.update(equilibrium, objective, batch)
    found: EquilibriumAudit = probe.compute()
    return found


def _share(mask: Tensor) -> Tensor:
    """The share of the samples, the first axis, that are in a mask."""
    return mask.double().mean(0) if mask.device.type != "mps" else mask.float().mean(0)


def _falls(curves: Tensor) -> Tensor:
    """Tell which curves, shape `(n, T + 1)`, still fall at their end, shape `(n,)`."""
    n_iter = curves.shape[1] - 1
    middle = curves[:, n_iter // 4 : n_iter // 2 + 1].amax(1)
    return curves[:, 3 * n_iter // 4 :].amax(1) <= _FALLS * middle


def _rates(residuals: Tensor, ratios: Tensor, eps: float) -> Tensor:
    """The factor by which each residual falls in an iteration, shape `(n,)`.

    Measured over the last half of the curve, or of its part above rounding; NaN if that is short.
    """
    above = (ratios > 100 * eps).cumprod(1)
    last = (above.sum(1) - 1).clamp(min=0)
    first = last // 2
    ends, starts = residuals.gather(1, last[:, None]), residuals.gather(1, first[:, None])
    rates = (ends / starts).squeeze(1).pow(1 / (last - first))
    return rates.where(last > first, torch.nan)
