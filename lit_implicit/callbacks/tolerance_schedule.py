"""Solve loosely at first and tighter as training goes on."""

import math
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer

from lit_implicit.adjoints import Unrolled
from lit_implicit.callbacks.training_solve import AbstractTrainingSolve
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule


class ToleranceSchedule(AbstractTrainingSolve):
    """Let the relative tolerance of training solves go from loose to tight.

    While the weights still move far at each step, an answer that is exact to the last digit is
    worth little, and costs iterations. Which tolerance a training step has is a function of its
    number alone: equal on all ranks and after a resume. Validation and tests are not touched. An
    adjoint that takes the forward's settings (`Implicit()`) has the same tolerance in its own
    solve; a `warmup_solver` of `AdjointSchedule` keeps its own. `IterationBudget` may stand beside
    it: a solve ends with whichever comes first.

    Args:
        start: Relative tolerance of the first step (dimensionless), above 0.
        end: That from `until_step` or `until_epoch` on, above 0 and at most `start`; None means the
            solver's `rtol`.
        until_step: Number of optimiser steps in which it falls. Either this or `until_epoch`.
        until_epoch: Number of epochs in which it falls, once in each.
        shape: `geometric` (by the same factor at each step), `linear`, or `steps`: geometric, in
            `n_levels` equal times.
        n_levels: Number of tolerances before `end`, for `steps`.

    Raises:
        ConfigError: If not exactly one of `until_step` and `until_epoch` is given, or a value is
            out of range; as training starts, if the solver's `rtol` cannot be the end, for an
            explicit model, and for the adjoint `Unrolled`, whose solves have no tolerance.
    """

    def __init__(
        self,
        start: float = 0.1,
        end: float | None = None,
        until_step: int | None = None,
        until_epoch: int | None = None,
        shape: Literal["geometric", "linear", "steps"] = "geometric",
        n_levels: int = 4,
    ) -> None:
        if (until_step is None) == (until_epoch is None):
            raise ConfigError(
                "`ToleranceSchedule` needs either `until_step` or `until_epoch`, got "
                f"until_step={until_step}, until_epoch={until_epoch}."
            )
        counts = {"until_step": until_step, "until_epoch": until_epoch, "n_levels": n_levels}
        for key, value in counts.items():
            if value is not None and value < 1:
                raise ConfigError(f"`ToleranceSchedule.{key}` must be at least 1, got {value}.")
        if not 0 < start < math.inf:
            raise ConfigError(f"`ToleranceSchedule.start` must be above 0 and finite, got {start}.")
        self.start, self.end = start, end
        self.until_step, self.until_epoch = until_step, until_epoch
        self.shape, self.n_levels = shape, n_levels
        if end is not None:
            _check_end(start, end, "`ToleranceSchedule.end`")

    def rtol(self, step: int, epoch: int) -> float:
        """Return the relative tolerance of a training step, numbered from 0.

        Raises:
            ConfigError: If `end` is None and no training has told the solver's.
        """
        if self.end is None:
            raise ConfigError("`ToleranceSchedule.end` is known only once training starts.")
        done = epoch / self.until_epoch if self.until_epoch else step / (self.until_step or 1)
        if done >= 1:
            return self.end
        if self.shape == "linear":
            return self.start + done * (self.end - self.start)
        if self.shape == "steps":
            done = math.floor(done * self.n_levels) / self.n_levels
        return self.start * float((self.end / self.start) ** done)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the solver's tolerance where none was given; refuse solves that have none."""
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, ImplicitLightningModule)
        if isinstance(pl_module.adjoint, Unrolled):
            raise ConfigError(
                "`ToleranceSchedule` needs solves that end at a tolerance, but the adjoint "
                "`Unrolled` takes all `max_iter` steps. Use `IterationBudget`, or another adjoint."
            )
        if self.end is None:
            _check_end(self.start, pl_module.solver.rtol, "The solver's `rtol`")
            self.end = pl_module.solver.rtol

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the tolerance of this step."""
        assert isinstance(pl_module, ImplicitLightningModule)
        pl_module.train_rtol = self.rtol(trainer.global_step, trainer.current_epoch)

    def reset(self, module: ImplicitLightningModule) -> None:
        """Give the solver its own tolerance back."""
        module.train_rtol = None


def _check_end(start: float, end: float, name: str) -> None:
    if not 0 < end <= start:
        raise ConfigError(
            f"{name} must lie in (0, {start}], up to `ToleranceSchedule.start`, got {end}: "
            "tolerances go from loose to tight."
        )
