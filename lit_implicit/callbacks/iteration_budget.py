"""How many iterations each training step may take: fixed, or drawn anew."""

import math
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningModule, Trainer

from lit_implicit.callbacks.training_solve import AbstractTrainingSolve
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule


class IterationBudget(AbstractTrainingSolve):
    """Set the solver's budget at each training step.

    Models trained at one depth are often good at that depth only; a budget that varies asks for an
    answer that stays good. Every draw is a function of `(seed, global step)`: equal on all ranks
    and after a resume. An adjoint that takes the forward's settings has the same budget; a
    `warmup_solver` of `AdjointSchedule` keeps its own.

    Args:
        distribution: `fixed` (always `max_iter`), `ramp` (from min_iter up to max_iter in equal
            steps, drawn from nothing), `uniform` (on min_iter..max_iter) or `lognormal_poisson`
            (1 + Poisson(rate), rate log-normal with mean `mean - 1`).
        max_iter: Largest budget; None means the solver's `max_iter`.
        min_iter: Smallest budget.
        mean: Mean of the log-normal Poisson law, before it is cut to min_iter..max_iter.
        sigma: Standard deviation of the rate's logarithm.
        seed: Seed of the draws.
        until_step: Optimiser step from which on a `ramp` is at max_iter, at least 1.

    Raises:
        ConfigError: If not 1 <= min_iter <= max_iter, if the law lacks a mean above 1, or a ramp
            its `until_step`.

    References:
        Geiping et al. (2025), arXiv:2502.05171, section 3.3, for the log-normal Poisson law.
    """

    def __init__(
        self,
        distribution: Literal["fixed", "ramp", "uniform", "lognormal_poisson"] = "uniform",
        max_iter: int | None = None,
        min_iter: int = 1,
        mean: float | None = None,
        sigma: float = 0.5,
        seed: int = 0,
        until_step: int | None = None,
    ) -> None:
        _check_bounds(min_iter, max_iter)
        if distribution == "lognormal_poisson" and (mean is None or not mean > 1):
            raise ConfigError(
                "`IterationBudget.mean` must be above 1 for 'lognormal_poisson', "
                f"got {mean}. It is the mean number of iterations."
            )
        if distribution == "ramp" and (until_step is None or until_step < 1):
            raise ConfigError(
                f"`IterationBudget.until_step` must be at least 1 for 'ramp', got {until_step}. It "
                "is the optimiser step from which on the budget is `max_iter`."
            )
        self.until_step = until_step
        self.distribution, self.max_iter, self.min_iter = distribution, max_iter, min_iter
        self.mean, self.sigma, self.seed = mean, sigma, seed

    def draw(self, step: int) -> int:
        """Return the budget of a global step.

        Raises:
            ConfigError: If `max_iter` is None and no training has told the solver's.
        """
        if self.max_iter is None:
            raise ConfigError("`IterationBudget.max_iter` is known only once training starts.")
        if self.distribution == "fixed":
            return self.max_iter
        if self.distribution == "ramp":
            assert self.until_step is not None
            rise = (self.max_iter - self.min_iter) * min(step, self.until_step) // self.until_step
            return self.min_iter + rise
        generator = np.random.default_rng([self.seed, step])
        if self.distribution == "uniform":
            return int(generator.integers(self.min_iter, self.max_iter, endpoint=True))
        assert self.mean is not None
        location = math.log(self.mean - 1) - self.sigma**2 / 2
        drawn = 1 + int(generator.poisson(generator.lognormal(location, self.sigma)))
        return min(max(drawn, self.min_iter), self.max_iter)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the solver's budget where none was given; refuse models that have none."""
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, ImplicitLightningModule)
        if self.max_iter is None:
            self.max_iter = pl_module.solver.max_iter
            _check_bounds(self.min_iter, self.max_iter)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the budget of this step."""
        assert isinstance(pl_module, ImplicitLightningModule)
        pl_module.train_max_iter = self.draw(trainer.global_step)

    def reset(self, module: ImplicitLightningModule) -> None:
        """Give the solver its own budget back."""
        module.train_max_iter = None


def _check_bounds(min_iter: int, max_iter: int | None) -> None:
    if min_iter < 1 or (max_iter is not None and max_iter < min_iter):
        raise ConfigError(
            "`IterationBudget` needs 1 <= min_iter <= max_iter, "
            f"got min_iter={min_iter}, max_iter={max_iter}."
        )
