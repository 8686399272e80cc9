"""Is what was trained really an equilibrium? Four checks on held-out samples, and a verdict."""

from typing import Any

import torch
from torch import Tensor

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.audit_curves import falls, rates
from lit_implicit.probes.audit_result import PATH_TOLERANCE, EquilibriumAudit
from lit_implicit.probes.audit_runs import batch_difference, long_run, run_from_random
from lit_implicit.probes.audit_verdict import in_words
from lit_implicit.probes.iterates import iteration_of
from lit_implicit.probes.probe import AbstractProbe
from lit_implicit.solvers import AbstractSolver


class EquilibriumAuditProbe(AbstractProbe):
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
        max_samples: Most samples that are audited, per process; None means all.
        seed: Seed of the starts and the other batches.

    Raises:
        ValueError: If a number is out of range.
    """

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
        super().__init__(seed, max_samples)
        for name, value, least in (
            ("train_max_iter", train_max_iter, 1),
            ("factor", factor, 2),
            ("n_starts", n_starts, 1),
        ):
            if value < least:
                raise ValueError(
                    f"`EquilibriumAuditProbe.{name}` must be at least {least}, got {value}."
                )
        self._trained = True
        self.depth, self.n_iter = train_max_iter, factor * train_max_iter
        self.adjoint, self.solver = adjoint, solver
        self.rtol = solver.rtol if rtol is None else rtol
        self.n_starts = n_starts
        for name in ("errors", "residuals", "ratios", "distances"):
            self.add_samples(name, self.n_iter + 1)
        self.add_samples("random_errors", n_starts)
        self.add_state("batch_difference", default=torch.tensor(-1.0), dist_reduce_fx="max")
        self.add_state("eps", default=torch.tensor(0.0), dist_reduce_fx="max")

    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Audit the model on one batch."""
        generator = torch.Generator().manual_seed(seed)
        bound = equilibrium.bind(objective.inputs(batch), seed=seed)
        self._trained = next(equilibrium.operator.parameters(), None) is not None
        problem, g = (equilibrium, objective, batch), bound[0]
        own = long_run(*problem, bound, self.solver, self.depth, self.n_iter)
        others = [
            run_from_random(*problem, g, own.z, self.solver, self.n_iter, generator)
            for _ in range(self.n_starts)
        ]
        self.keep(
            errors=own.errors,
            residuals=own.residuals,
            ratios=own.ratios,
            distances=torch.stack([run[0] for run in others]).amax(0),
            random_errors=torch.stack([run[1] for run in others], 1),
        )
        self.eps = self.eps.clamp(min=torch.finfo(own.z.dtype).eps)
        difference = batch_difference(*problem, g, own.early, generator)
        if difference is not None:
            # In the state's own dtype: one that differed from that of other ranks could not merge.
            largest = difference.max().to(self.batch_difference)
            self.batch_difference = self.batch_difference.maximum(largest)

    def result(self) -> EquilibriumAudit:
        """Return the audit over all samples seen."""
        errors, ratios, residuals = (self.kept(name) for name in ("errors", "ratios", "residuals"))
        distances, random_errors = self.kept("distances"), self.kept("random_errors")
        eps = float(self.eps)
        here = errors.isfinite() & ratios.isfinite()
        sound = here.all(1)
        converged, same = ratios <= self.rtol, distances <= max(PATH_TOLERANCE, 10 * eps)
        slow, nearing = sound & ~converged[:, -1], sound & ~same[:, -1]
        # Not the relative residual: where the iterates grow without bound, it falls too.
        residual_falls, distance_falls = falls(residuals), falls(distances)
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
            rate=float(rates(residuals[sound], ratios[sound], eps).nanmedian()),
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
            training=in_words(self.adjoint if self._trained else None, self.depth),
        )


def _share(mask: Tensor) -> Tensor:
    """The share of the samples, the first axis, that are in a mask."""
    return mask.to(widest_dtype(mask.device)).mean(0)
