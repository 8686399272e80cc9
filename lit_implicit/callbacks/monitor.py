"""What all monitors share: when to measure, and where numbers, pictures and findings go."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_implicit.callbacks.schedule import is_due
from lit_implicit.errors import ConfigError, NoSamplesError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import AbstractProbe
from lit_implicit.reporting.curves import write_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = dict[str, list[float]]


class AbstractMonitor(Callback):
    """Measure a model every few epochs on validation data and in each test.

    In the run directory: `figures/<stage>_<file_name>.csv`, `.json` and `.png`; in TensorBoard the
    figure; in the logs, and so in the closing table, the `scalars`; at the end of the run, the
    `findings` in words. Explicit models are left alone.

    Args:
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.

    Raises:
        ConfigError: If a number is out of range.
    """

    file_name: str

    def __init__(self, every_n_epochs: int, max_batches: int | None) -> None:
        self.every_n_epochs, self.max_batches = every_n_epochs, max_batches
        self._check(every_n_epochs=(every_n_epochs, 0), max_batches=(max_batches, 1))
        self._probe: AbstractProbe | None = None
        self.results: dict[str, Columns] = {}
        """The latest result of each stage as columns."""
        self.found: dict[str, list[str]] = {}
        """The latest findings of each stage, in words."""

    @abstractmethod
    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        """Return the probe that measures; None where there is nothing to measure."""

    @abstractmethod
    def columns(self, result: Any) -> Columns:
        """Return what was measured as columns of a table."""

    @abstractmethod
    def settings(self, result: Any) -> dict[str, Any]:
        """Return what a reader of the numbers must know beside them."""

    @abstractmethod
    def draw(self, result: Any, title: str, trained: int) -> "Figure":
        """Draw what was measured."""

    def scalars(self, result: Any) -> dict[str, float]:
        """Return the numbers to log as `stage/name`, NaN where not measured. Default: none."""
        return {}

    def findings(self, result: Any) -> list[str]:
        """Say in words what was found, a sentence each. Default: nothing."""
        return []

    def iteration(self) -> str:
        """Say by what iteration was measured, for the title; empty where it does not matter."""
        return ""

    def _check(self, **least: tuple[int | None, int]) -> None:
        for key, (value, minimum) in least.items():
            if value is not None and value < minimum:
                raise ConfigError(
                    f"`{type(self).__name__}.{key}` must be at least {minimum}, got {value}."
                )

    def _start(self, module: LightningModule) -> None:
        self._probe = None
        if isinstance(module, ImplicitLightningModule):
            probe = self.make_probe(module)
            self._probe = None if probe is None else probe.to(module.device)

    def _measure(self, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._probe is None or (self.max_batches is not None and batch_idx >= self.max_batches):
            return
        assert isinstance(module, ImplicitLightningModule)
        # Not `forward`: a probe needs no value per batch.
        with torch.no_grad():
            self._probe.update(module.test_equilibrium, module.objective, batch)

    def _finish(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        probe, self._probe = self._probe, None
        if probe is None:
            return
        assert isinstance(module, ImplicitLightningModule)
        try:
            result = probe.compute()  # merges the ranks
        except NoSamplesError:  # of all ranks, so that none waits for another
            self.results.pop(stage, None)
            self.found.pop(stage, None)
            return
        columns = self.columns(result)
        self.results[stage], self.found[stage] = columns, self.findings(result)
        # Left out rather than NaN: what was not measured has no place in a table. The result is the
        # same on all ranks, and so are the names that each of them logs.
        scalars = {
            f"{stage}/{name}": value
            for name, value in self.scalars(result).items()
            if not math.isnan(value)
        }
        module.log_dict(scalars, sync_dist=True)
        log_dir = trainer.log_dir  # asks rank zero, so every rank must ask
        if not trainer.is_global_zero:
            return
        title = f"{type(module.operator).__name__}, {stage}{self.iteration()}"
        if stage == "val":
            title += f", epoch {trainer.current_epoch}"
        figure = self.draw(result, title, module.solver.max_iter)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                board, epoch = logger.experiment, trainer.current_epoch
                board.add_figure(f"{stage}/{self.file_name}", figure, epoch)
                self.log_columns(board, stage, columns, epoch)
        if log_dir is not None:
            settings = {
                "stage": stage,
                "epoch": trainer.current_epoch,
                "train_max_iter": module.solver.max_iter,
                **self.settings(result),
                "findings": self.found[stage],
            }
            folder = Path(log_dir) / "figures"
            write_curve(folder, f"{stage}_{self.file_name}", columns, settings, figure)

    def log_columns(self, board: Any, stage: str, columns: Columns, epoch: int) -> None:
        """Log columns to TensorBoard, beside the figure. Default: not."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse settings that do not suit the model now, not after epochs of training."""
        if isinstance(pl_module, ImplicitLightningModule):
            self.make_probe(pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a measurement, if one is due."""
        self._probe = None
        if is_due(trainer, self.every_n_epochs):
            self._start(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._measure(pl_module, batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and write what was measured."""
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a measurement."""
        self._start(pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._measure(pl_module, batch, batch_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and write what was measured."""
        self._finish(trainer, pl_module, "test")
