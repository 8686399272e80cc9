"""Statistics of the solves, of training and evaluation, forward and backward."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_implicit.solvers import Solution


class SolverMonitor(Callback):
    """Log how the solver did: `stage/n_iter_mean`, `n_iter_max`, `relative_residual`, `converged`.

    All but the maximum are means over the samples of an epoch, `converged` and `failed` as shares.
    While training, the adjoint's own solve is logged as `train/adjoint_n_iter_mean` and
    `train/adjoint_relative_residual`. Explicit models have nothing to log.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the solves of a training step, after its backward pass."""
        solution = _solution(outputs)
        if solution is None:
            return
        _log(pl_module, "train", solution)
        adjoint = solution.adjoint
        if adjoint.n_iter is not None and adjoint.relative_residual is not None:
            n = len(adjoint.n_iter)
            _log_mean(pl_module, "train/adjoint_n_iter_mean", adjoint.n_iter, n)
            _log_mean(pl_module, "train/adjoint_relative_residual", adjoint.relative_residual, n)

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
            _log(pl_module, "val", solution)

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
            _log(pl_module, "test", solution)


def _solution(outputs: Any) -> Solution | None:
    return outputs.get("solution") if isinstance(outputs, dict) else None


def _log(pl_module: LightningModule, stage: str, solution: Solution) -> None:
    n = len(solution.n_iter)
    _log_mean(pl_module, f"{stage}/n_iter_mean", solution.n_iter, n)
    _log_mean(pl_module, f"{stage}/relative_residual", solution.relative_residual, n)
    _log_mean(pl_module, f"{stage}/converged", solution.converged, n)
    _log_mean(pl_module, f"{stage}/failed", solution.failed, n)
    pl_module.log(
        f"{stage}/n_iter_max", solution.n_iter.max().float(), on_step=False, on_epoch=True,
        reduce_fx="max", batch_size=n, sync_dist=True,
    )  # fmt: skip


def _log_mean(pl_module: LightningModule, name: str, values: Tensor, n: int) -> None:
    pl_module.log(
        name, values.float().mean(), on_step=False, on_epoch=True, batch_size=n, sync_dist=True
    )
