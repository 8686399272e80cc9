"""Pictures of a few answers, as the task draws them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_implicit.callbacks.schedule import is_due
from lit_implicit.errors import ConfigError
from lit_implicit.module import AbstractLightningModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Gallery(Callback):
    """Show the objective's `figures` of the first batch, while training and in tests.

    In TensorBoard as `<stage>/<name>`, in the run directory as `figures/<stage>_<name>.png`, where
    the latest picture takes the place of those before it. Tasks without figures show none.

    Args:
        every_n_epochs: Epochs from one picture of validation data to the next; 0 means none in
            `fit`.

    Raises:
        ConfigError: If the number is negative.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        if every_n_epochs < 0:
            raise ConfigError(f"`Gallery.every_n_epochs` must be at least 0, got {every_n_epochs}.")
        self.every_n_epochs = every_n_epochs
        self._figures: dict[str, Figure] = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch, if it is due."""
        if batch_idx == dataloader_idx == 0 and is_due(trainer, self.every_n_epochs):
            self._draw(trainer, pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and write the pictures."""
        self._show(trainer, "val")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch."""
        if batch_idx == dataloader_idx == 0:
            self._draw(trainer, pl_module, outputs, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and write the pictures."""
        self._show(trainer, "test")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any) -> None:
        if trainer.is_global_zero and isinstance(pl_module, AbstractLightningModule):
            self._figures = dict(pl_module.objective.figures(outputs["y"], batch))

    def _show(self, trainer: Trainer, stage: str) -> None:
        figures, self._figures = self._figures, {}
        log_dir = trainer.log_dir  # asks rank zero, so every rank must ask
        for name, figure in figures.items():
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_figure(f"{stage}/{name}", figure, trainer.current_epoch)
            if log_dir is not None:
                folder = Path(log_dir) / "figures"
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(folder / f"{stage}_{name}.png", dpi=120)
