"""Statistics of the solves, of training and evaluation, forward and backward."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_implicit.layout import widest_dtype
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.solvers import Solution, Status

_NAMES = ("n_iter_mean", "relative_residual", "converged", "failed")
_MEANS = (*_NAMES, *(f"adjoint_{name}" for name in _NAMES))


class SolverMonitor(Callback):
    """Log how the solver did: `stage/n_iter_mean`, `n_iter_max`, `relative_residual`, `converged`.

    All but the maximum are means over the samples of an epoch, of all ranks; `converged` and
    `failed` are shares, and the residual is that of samples that did not fail. While training, the
    adjoint's own solve is logged too, as `train/adjoint_...`. Explicit models have nothing to log.
    """

    def __init__(self) -> None:
        # Sums over samples and their numbers, (names, 2), and the most iterations. Lightning's own
        # means are no use where ranks differ in their samples: it halves the numbers as integers.
        self._sums: dict[str, Tensor] = {}
        self._most: dict[str, Tensor] = {}

    def _start(self, module: LightningModule, stage: str) -> None:
        dtype = widest_dtype(module.device)
        self._sums[stage] = torch.zeros(len(_MEANS), 2, dtype=dtype, device=module.device)
        self._most[stage] = torch.zeros((), dtype=dtype, device=module.device)

    def _add(self, stage: str, outputs: Any) -> None:
        solution = outputs.get("solution") if isinstance(outputs, dict) else None
        if solution is None or stage not in self._sums:
            return
        sums = self._sums[stage]
        for name, values in _values(solution).items():
            row = sums[_MEANS.index(name)]
            row += torch.stack([values.to(sums).sum(), row.new_tensor(len(values))])
        self._most[stage] = self._most[stage].maximum(solution.n_iter.max())

    def _log(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if stage not in self._sums or not isinstance(module, ImplicitLightningModule):
            return
        sums = trainer.strategy.reduce(self._sums.pop(stage), reduce_op="sum")
        most = trainer.strategy.reduce(self._most.pop(stage), reduce_op="max")
        assert isinstance(sums, Tensor)
        assert isinstance(most, Tensor)
        # The same on all ranks from here on, and so are the names that each of them logs.
        for name, (total, n) in zip(_MEANS, sums.tolist(), strict=True):
            # Of training, `n_failed` counts them.
            if n and (stage, name) != ("train", "failed"):
                module.log(f"{stage}/{name}", total / n)
        module.log(f"{stage}/n_iter_max", float(most))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start an epoch of training."""
        self._start(pl_module, "train")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the solves of a training step, after its backward pass."""
        self._add("train", outputs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log an epoch of training."""
        self._log(trainer, pl_module, "train")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a validation."""
        self._start(pl_module, "val")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the solves of a validation batch."""
        self._add("val", outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a validation."""
        self._log(trainer, pl_module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a test."""
        self._start(pl_module, "test")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the solves of a test batch."""
        self._add("test", outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a test."""
        self._log(trainer, pl_module, "test")


def _values(solution: Solution) -> dict[str, Tensor]:
    """Return what is known of each sample, by name: not all samples have every value."""
    residual = solution.relative_residual[~solution.failed]
    known = (solution.n_iter, residual, solution.converged, solution.failed)
    values = dict(zip(_NAMES, known, strict=True))
    adjoint = solution.adjoint
    if adjoint.n_iter is None or adjoint.relative_residual is None or adjoint.status is None:
        return values
    solved = ~adjoint.relative_residual.isnan()
    known = (
        adjoint.n_iter[solved], adjoint.relative_residual[solved],
        (adjoint.status == Status.CONVERGED)[solved], (adjoint.status >= Status.DIVERGED)[solved],
    )  # fmt: skip
    return values | {f"adjoint_{k}": v for k, v in zip(_NAMES, known, strict=True)}
