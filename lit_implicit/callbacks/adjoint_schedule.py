"""Train with another adjoint first: a warm-up of few unrolled iterations, say."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.callbacks.training_solve import AbstractTrainingSolve
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.solvers import AbstractSolver


class AdjointSchedule(AbstractTrainingSolve):
    """Train with the adjoint `warmup` first, and with the module's own from a step or epoch on.

    An operator at its random start may have no fixed point to differentiate; a few iterations
    unrolled always have a gradient. Which adjoint a training step takes is a function of its number
    alone: equal on all ranks and after a resume. Validation and tests are not touched. An
    `IterationBudget` rules the module's solver as ever, but not a `warmup_solver`.

    Args:
        warmup: The adjoint of the first steps, such as `Unrolled`.
        until_step: Number of optimiser steps that take it. Either this or `until_epoch`.
        until_epoch: Number of epochs that take it.
        warmup_solver: The solver of these steps, with its own budget; None means the module's.

    Raises:
        ConfigError: If not exactly one of `until_step` and `until_epoch` is given, or it is below
            1.

    References:
        Bai, Koltun and Kolter (2020), arXiv:2006.08656, for pretraining a DEQ unrolled.
    """

    def __init__(
        self,
        warmup: AbstractAdjoint,
        until_step: int | None = None,
        until_epoch: int | None = None,
        warmup_solver: AbstractSolver | None = None,
    ) -> None:
        if (until_step is None) == (until_epoch is None):
            raise ConfigError(
                "`AdjointSchedule` needs either `until_step` or `until_epoch`, got "
                f"until_step={until_step}, until_epoch={until_epoch}."
            )
        for key, value in (("until_step", until_step), ("until_epoch", until_epoch)):
            if value is not None and value < 1:
                raise ConfigError(f"`AdjointSchedule.{key}` must be at least 1, got {value}.")
        self.warmup, self.warmup_solver = warmup, warmup_solver
        self.until_step, self.until_epoch = until_step, until_epoch

    def is_warmup(self, step: int, epoch: int) -> bool:
        """Tell whether a training step, numbered from 0, takes the warm-up's adjoint."""
        if self.until_step is not None:
            return step < self.until_step
        assert self.until_epoch is not None
        return epoch < self.until_epoch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Choose the adjoint of this step, and say so where it changes."""
        assert isinstance(pl_module, ImplicitLightningModule)
        if self.is_warmup(trainer.global_step, trainer.current_epoch):
            pl_module.train_adjoint, pl_module.train_solver = self.warmup, self.warmup_solver
        elif pl_module.train_adjoint is not None:
            self.reset(pl_module)
            layer = pl_module.train_equilibrium
            rank_zero_info(
                f"AdjointSchedule: from step {trainer.global_step}, epoch {trainer.current_epoch}, "
                f"on, training takes {layer.adjoint} and {layer.solver}."
            )

    def reset(self, module: ImplicitLightningModule) -> None:
        """Train with the module's own adjoint and solver again."""
        module.train_adjoint = module.train_solver = None
