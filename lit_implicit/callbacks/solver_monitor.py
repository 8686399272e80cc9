"""Statistics of the solves, of training and evaluation, forward and backward."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_implicit.solvers import Solution, Status


class SolverMonitor(Callback):
    """Log how the solver did: `stage/n_iter_mean`, `n_iter_max`, `relative_residual`, `converged`.

    All but the maximum are means over the samples of an epoch, `converged` and `failed` as shares;
    the residual is that of samples that did not fail. While training, the adjoint's own solve is
    logged too, as `train/adjoint_...`. Explicit models have nothing to log.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the solves of a training step, after its backward pass."""
        solution = _solution(outputs)
        if solution is None:
            return
        _log(pl_module, "train/", solution)
        adjoint = solution.adjoint
        if adjoint.n_iter is None or adjoint.relative_residual is None or adjoint.status is None:
            return
        solved = ~adjoint.relative_residual.isnan()
        _log_mean(pl_module, "train/adjoint_n_iter_mean", adjoint.n_iter[solved])
        _log_mean(pl_module, "train/adjoint_relative_residual", adjoint.relative_residual[solved])
        _log_mean(pl_module, "train/adjoint_converged", adjoint.status == Status.CONVERGED)
        _log_mean(pl_module, "train/adjoint_failed", (adjoint.status >= Status.DIVERGED)[solved])

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the solves of a validation batch."""
        if (solution := _solution(outputs)) is not None:
            _log(pl_module, "val/", solution)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the solves of a test batch."""
        if (solution := _solution(outputs)) is not None:
            _log(pl_module, "test/", solution)


def _solution(outputs: Any) -> Solution | None:
    return outputs.get("solution") if isinstance(outputs, dict) else None


def _log(pl_module: LightningModule, stage: str, solution: Solution) -> None:
    sound = ~solution.failed
    _log_mean(pl_module, f"{stage}n_iter_mean", solution.n_iter)
    _log_mean(pl_module, f"{stage}relative_residual", solution.relative_residual[sound])
    _log_mean(pl_module, f"{stage}converged", solution.converged)
    if stage != "train/":  # where `n_failed` counts them
        _log_mean(pl_module, f"{stage}failed", solution.failed)
    pl_module.log(
        f"{stage}n_iter_max", solution.n_iter.max().float(), on_step=False, on_epoch=True,
        reduce_fx="max", batch_size=len(sound), sync_dist=True,
    )  # fmt: skip


def _log_mean(pl_module: LightningModule, name: str, values: Tensor) -> None:
    """Log a mean over samples; where a batch has none, with no weight."""
    n = len(values)
    mean = values.float().mean() if n else values.new_zeros((), dtype=torch.float32)
    pl_module.log(name, mean, on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
