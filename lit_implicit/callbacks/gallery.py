"""Pictures of a few answers, as the task draws them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_implicit.callbacks.schedule import is_due
from lit_implicit.errors import ConfigError
from lit_implicit.files import file_name, replace_whole
from lit_implicit.module import AbstractLightningModule, ImplicitLightningModule
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes import iterates

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Gallery(Callback):
    """Show what the objective draws of the first batch, while training and in tests.

    In TensorBoard as `<stage>/<name>`, in the run directory as `figures/<stage>_<name>.png`, where
    the latest picture takes the place of those before it; what no name of a file may hold, as a
    slash, becomes an underscore there. The objective's `figures` are drawn in
    both; its `figures_over_iterations` of an implicit model in tests alone, as they cost as many
    evaluations of G on that batch as the last of their times. Tasks without figures show none, at
    no cost.

    Args:
        every_n_epochs: Epochs from one picture of validation data to the next; 0 means none in
            `fit`.
        times: The t of the iterates y_t in `figures_over_iterations`, ascending, y_0 being the
            answer read off the start. None means the objective's `times`; an empty list means no
            such figures.

    Raises:
        ConfigError: If the number or a time is negative, or the times do not ascend.
    """

    def __init__(self, every_n_epochs: int = 10, times: Sequence[int] | None = None) -> None:
        if every_n_epochs < 0:
            raise ConfigError(f"`Gallery.every_n_epochs` must be at least 0, got {every_n_epochs}.")
        if times is not None and (list(times) != sorted(set(times)) or min(times, default=0) < 0):
            raise ConfigError(f"`Gallery.times` must ascend, from 0 on, got {list(times)}.")
        self.every_n_epochs, self.times = every_n_epochs, times
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
        """Draw the first batch, and how its answers come about."""
        if batch_idx == dataloader_idx == 0:
            self._draw(trainer, pl_module, outputs, batch)
            if trainer.is_global_zero and isinstance(pl_module, ImplicitLightningModule):
                self._figures |= self._over_iterations(pl_module, outputs["y"], batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and write the pictures."""
        self._show(trainer, "test")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any) -> None:
        if trainer.is_global_zero and isinstance(pl_module, AbstractLightningModule):
            self._figures = dict(pl_module.objective.figures(outputs["y"], batch))

    def _over_iterations(
        self, module: ImplicitLightningModule, y: Any, batch: Any
    ) -> Mapping[str, "Figure"]:
        objective = module.objective
        times = objective.times if self.times is None else self.times
        if not times or not is_overridden("figures_over_iterations", objective, AbstractObjective):
            return {}
        answers = {}
        with torch.no_grad():
            x = objective.inputs(batch)
            for t, item in enumerate(iterates(module.test_equilibrium, x, max(times))):
                if t in times:
                    answers[t] = item.y
        return objective.figures_over_iterations(answers, y, batch)

    def _show(self, trainer: Trainer, stage: str) -> None:
        figures, self._figures = self._figures, {}
        log_dir = trainer.log_dir  # asks rank zero, so every rank must ask
        for name, figure in figures.items():
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_figure(f"{stage}/{name}", figure, trainer.current_epoch)
            if log_dir is not None:
                _save(figure, Path(log_dir) / "figures" / f"{stage}_{file_name(name)}.png")


def _save(figure: "Figure", path: Path) -> None:
    """Write a picture whole; one that cannot be written costs nobody a training run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_whole(path) as file:
            figure.savefig(file, format="png", dpi=120)
    except OSError as err:
        rank_zero_warn(f"A picture is left out, as it cannot be written: {err}.")
