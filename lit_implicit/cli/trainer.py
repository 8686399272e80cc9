"""The Trainer of the command line: Lightning's, with a method for the command `curve`."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_implicit.callbacks.curve_monitor import AbstractCurveMonitor
from lit_implicit.callbacks.monitor import AbstractMonitor
from lit_implicit.cli.exact_evaluation import shorten_samplers
from lit_implicit.cli.ranks import check_launcher, is_restarted
from lit_implicit.errors import ConfigError
from lit_implicit.module import AbstractLightningModule, ImplicitLightningModule


class CurveTrainer(Trainer):
    """A Trainer that can also measure curves; for its arguments see `lightning.Trainer`.

    Validation and test count each sample once on any number of processes, and training that SLURM
    interrupts goes on after the restart.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except RuntimeError as err:
            if "SLURM" not in str(err):
                raise
            raise ConfigError(f"SLURM's settings do not suit Lightning: {err}") from err
        check_launcher(self.num_devices, self.num_nodes)
        shorten_samplers(self.strategy, self)

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train; after a restart by SLURM or torchrun, from the last checkpoint of the run.

        Args:
            model: The model.
            train_dataloaders: Training batches, instead of the data module's.
            val_dataloaders: Validation batches, instead of the data module's.
            datamodule: The data.
            ckpt_path: Checkpoint to start from; None means the model as it is.
            weights_only: Whether the checkpoint is read without unpickling objects.
        """
        checkpoint = self.checkpoint_callback
        if is_restarted() and isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath:
            last = Path(checkpoint.dirpath) / "last.ckpt"
            ckpt_path = last if last.is_file() else ckpt_path
        super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)

    def curve(
        self,
        model: AbstractLightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
        stage: Literal["test", "val"] = "test",
        n_iter: int | None = None,
        max_batches: int | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, list[float]]:
        """Measure error and Lipschitz constant against the number of test-time iterations.

        The monitors among the callbacks do it, on one evaluation of the split; they write their
        CSV, JSON and PNG files into `figures/` of the run directory.

        Args:
            model: The model.
            datamodule: The data.
            ckpt_path: Checkpoint with the weights; None means the model as it is.
            stage: The split to measure on.
            n_iter: Number of iterations of the curves; None leaves the monitors' own.
            max_batches: Most batches to measure; None leaves the monitors' own.
            weights_only: Whether the checkpoint is read without unpickling objects.

        Returns:
            All curves as columns, the first being `t`.

        Raises:
            ConfigError: If the model is explicit, no monitor is on, or a number is not positive.
        """
        monitors = self._monitors(model)
        settings = {"n_iter": n_iter, "max_batches": max_batches}
        for name, value in settings.items():
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` of `curve` must be at least 1, got {value}.")
            for monitor in monitors if value is not None else ():
                if name == "max_batches" or isinstance(monitor, AbstractCurveMonitor):
                    setattr(monitor, name, value)
        evaluate: Any = self.test if stage == "test" else self.validate
        evaluate(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=weights_only,
                 verbose=False)  # fmt: skip
        columns: dict[str, list[float]] = {}
        for monitor in monitors:
            if isinstance(monitor, AbstractCurveMonitor):
                columns |= monitor.results.get(stage, {})
        return columns

    def _monitors(self, model: AbstractLightningModule) -> list[AbstractMonitor]:
        if not isinstance(model, ImplicitLightningModule):
            raise ConfigError(
                f"`curve` needs an `ImplicitLightningModule`, got {type(model).__name__}: an "
                "explicit model does not iterate, so it has no curve. Use `test`."
            )
        callbacks: list[Any] = self.callbacks  # type: ignore[attr-defined]
        monitors = [c for c in callbacks if isinstance(c, AbstractMonitor)]
        # A curve's length may still be 0 here; others know whether the task has what they need.
        if not any(
            isinstance(m, AbstractCurveMonitor) or m.make_probe(model) is not None for m in monitors
        ):
            raise ConfigError(
                "`curve` has nothing to measure: all monitors are null. Leave one of them on, as "
                "`test_time_curve`."
            )
        return monitors
