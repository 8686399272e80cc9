"""Write the answers of `predict`, batch by batch, in the form that the task chose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_implicit.module import AbstractLightningModule


class PredictionWriter(BasePredictionWriter):
    """Hand each answer to the objective's `write`.

    Args:
        folder: Where the answers go; with several devices, each has a folder of its own in it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self._folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on rank zero's folder."""
        self._folder = trainer.strategy.broadcast(self._folder)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the answers to one batch."""
        assert isinstance(pl_module, AbstractLightningModule)
        folder = self._folder
        if trainer.world_size > 1:
            folder = folder / f"rank_{trainer.global_rank}"
        folder.mkdir(parents=True, exist_ok=True)
        y, solution = prediction
        pl_module.objective.write(y, solution, batch, folder)
