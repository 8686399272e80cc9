"""Write the answers of `predict`, batch by batch, in the form that the task chose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_implicit.errors import DataError
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
        """Write the answers to one batch.

        Raises:
            DataError: If they cannot be written; those of earlier batches stay.
        """
        assert isinstance(pl_module, AbstractLightningModule)
        folder = self._folder
        if trainer.world_size > 1:
            folder = folder / f"rank_{trainer.global_rank}"
        y, solution = prediction
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pl_module.objective.write(y, solution, batch, folder)
        except OSError as err:
            raise DataError(
                f"Cannot write the answers to batch {batch_idx} into {str(folder)!r}: {err}. Set "
                "`run_dir` to a folder with room that you may write."
            ) from err
