"""What the curve monitors share: when to measure, and where the numbers and pictures go."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torchmetrics import Metric

from lit_implicit.callbacks.schedule import is_due
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.reporting.curves import write_curve
from lit_implicit.solvers import AbstractSolver, Picard

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AbstractCurveMonitor(Callback):
    """Measure a curve over iterations, every few epochs on validation data and in each test.

    In TensorBoard: its values at t = 1, 2, 4, ... over the epochs as `val_curve/<name>_t<t>`; of a
    test, the whole curve as `test_curve/<name>` with t as the step; and a figure. In the run
    directory: `figures/<stage>_<curve>.csv`, `.json` and `.png`.

    Args:
        n_iter: Number T of iterations; None means twice the training budget. 0 switches the monitor
            off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        solver: The iteration; None means plain Picard iteration.

    Raises:
        ConfigError: If a number is out of range.
    """

    curve_name: str
    followed: tuple[str, ...]
    """Columns (by the beginning of their names) that are followed over the epochs."""

    def __init__(
        self,
        n_iter: int | None = None,
        every_n_epochs: int = 5,
        max_batches: int | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        least = {"n_iter": (n_iter, 0), "every_n_epochs": (every_n_epochs, 0)}
        for key, (value, minimum) in {**least, "max_batches": (max_batches, 1)}.items():
            if value is not None and value < minimum:
                raise ConfigError(
                    f"`{type(self).__name__}.{key}` must be at least {minimum}, got {value}."
                )
        self.n_iter, self.every_n_epochs, self.max_batches = n_iter, every_n_epochs, max_batches
        self.solver = solver
        self._probe: Metric | None = None
        self.results: dict[str, dict[str, list[float]]] = {}
        """The latest curve of each stage as columns, the first being `t`."""

    @abstractmethod
    def make_probe(self, module: ImplicitLightningModule, n_iter: int) -> Metric | None:
        """Return the metric that collects the curve; None where the task has none."""

    @abstractmethod
    def columns(self, curve: Any) -> dict[str, list[float]]:
        """Return a computed curve as columns, the first being `t`."""

    @abstractmethod
    def settings(self, curve: Any) -> dict[str, Any]:
        """Return what a reader of the numbers must know beside them."""

    @abstractmethod
    def draw(self, curve: Any, title: str, trained: int) -> "Figure":
        """Draw a computed curve."""

    def _start(self, module: LightningModule) -> None:
        self._probe = None
        if self.n_iter == 0 or not isinstance(module, ImplicitLightningModule):
            return
        probe = self.make_probe(module, self.n_iter or 2 * module.solver.max_iter)
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
        curve = probe.compute()  # merges the ranks
        columns = self.columns(curve)
        self.results[stage] = columns
        log_dir = trainer.log_dir  # asks rank zero, so every rank must ask
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        solver = self.solver or Picard()
        title = f"{type(module.operator).__name__}, {stage}, by {_iteration(solver)}"
        if stage == "val":
            title += f", epoch {trainer.current_epoch}"
        figure = self.draw(curve, title, module.solver.max_iter)
        self._log(trainer, stage, columns, figure)
        if log_dir is not None:
            settings = {
                "stage": stage,
                "epoch": trainer.current_epoch,
                "solver": repr(solver),
                "train_max_iter": module.solver.max_iter,
                **self.settings(curve),
            }
            folder = Path(log_dir) / "figures"
            write_curve(folder, f"{stage}_{self.curve_name}", columns, settings, figure)

    def _log(
        self, trainer: Trainer, stage: str, columns: Mapping[str, list[float]], figure: "Figure"
    ) -> None:
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                continue
            board, epoch = logger.experiment, trainer.current_epoch
            board.add_figure(f"{stage}/{self.curve_name}", figure, epoch)
            for name, values in columns.items():
                if name == "t":
                    continue
                if stage == "test":
                    for t, value in enumerate(values):
                        board.add_scalar(f"test_curve/{name}", value, t)
                elif name.startswith(self.followed):
                    t = 1
                    while t < len(values):
                        board.add_scalar(f"{stage}_curve/{name}_t{t}", values[t], epoch)
                        t *= 2

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
        """Log and write the curve."""
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
        """Log and write the curve."""
        self._finish(trainer, pl_module, "test")


def _iteration(solver: AbstractSolver) -> str:
    """Name a solver and what changes its iterates, as `Picard(damping=0.5)`."""
    rest = ("rtol", "atol", "max_iter")  # a probe listens to none of these
    changed = [
        f"{field.name}={getattr(solver, field.name)}"
        for field in fields(solver)  # type: ignore[arg-type]
        if field.name not in rest and getattr(solver, field.name) != field.default
    ]
    return type(solver).__name__ + (f"({', '.join(changed)})" if changed else "")
