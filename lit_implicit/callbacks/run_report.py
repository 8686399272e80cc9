"""Collect what a run ends with, for report.json and the closing table."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.callbacks.monitor import AbstractMonitor
from lit_implicit.module import AbstractLightningModule
from lit_implicit.reporting.report import count_parameters, environment, write_json


class RunReport(Callback):
    """Keep the final metrics of each stage, with what is needed to judge and repeat them.

    The validation metrics are those of the epoch that the best checkpoint is from, or of the last
    epoch where no checkpoint is chosen by a metric.

    Args:
        folder: Where `write` puts report.json; None means nowhere.
        command: The command line.
        task: Name of the task.
        seed: Seed of the run.
    """

    def __init__(
        self,
        folder: Path | None = None,
        command: str = "",
        task: str | None = None,
        seed: int | bool | None = None,
    ) -> None:
        self.folder = folder
        self.started = False
        """Whether a stage began: before that, nothing is worth a report."""
        self.content: dict[str, Any] = {
            "command": command,
            "status": "running",
            "task": task,
            "config": "config.yaml",
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "seed": seed,
            "device": "",
            "n_parameters": 0,
            "seconds": {},
            "metrics": {},
            "findings": {},
            "best_checkpoint": None,
        }
        self._best: float | None = None
        self._since = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note where the run takes place."""
        self.started = True
        self._since = time.perf_counter()
        self.content |= environment(trainer.strategy.root_device)
        self.content["n_devices"] = trainer.world_size
        self.content["n_parameters"] = count_parameters(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note how long the stage took and which checkpoint is the best."""
        self.content["seconds"][str(getattr(stage, "value", stage))] = round(
            time.perf_counter() - self._since, 3
        )
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
            self.content["best_checkpoint"] = checkpoint.best_model_path

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics, unless an earlier epoch was better."""
        if not trainer.sanity_checking and self._is_best(trainer):
            self._keep(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics."""
        self._keep(trainer, "test")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the task has to say about its answers, once all processes have written them."""
        folder = None if self.folder is None else self.folder / "predictions"
        trainer.strategy.barrier()
        if trainer.is_global_zero and folder is not None and folder.is_dir():
            assert isinstance(pl_module, AbstractLightningModule)
            if rows := pl_module.objective.summary(folder):
                self.content["predictions"] = [dict(row) for row in rows]

    @rank_zero_only
    def write(self, status: str) -> None:
        """Write report.json; call it when the run is over.

        Args:
            status: How it ended: `completed`, `interrupted` or `failed`.
        """
        self.content["status"] = status
        if self.folder is not None and self.started:
            write_json(self.content, self.folder / "report.json")

    def _keep(self, trainer: Trainer, stage: str) -> None:
        self.content["metrics"][stage] = {
            name.partition("/")[2]: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(f"{stage}/")
        }
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        monitors = [c for c in callbacks if isinstance(c, AbstractMonitor)]
        findings = [finding for monitor in monitors for finding in monitor.found.get(stage, ())]
        if findings:
            self.content["findings"][stage] = findings
        if stage == "val":
            self.content["val_epoch"] = trainer.current_epoch

    def _is_best(self, trainer: Trainer) -> bool:
        """Judge as the checkpoint callback will, which comes after all others."""
        checkpoint = trainer.checkpoint_callback
        monitor = getattr(checkpoint, "monitor", None)
        if monitor not in trainer.callback_metrics or trainer.state.fn != "fit":
            return True
        value = float(trainer.callback_metrics[monitor])
        value = value if getattr(checkpoint, "mode", "min") == "min" else -value
        # Not `value < best`: a first value that is NaN must not stay.
        if self._best is not None and not (value < self._best or self._best != self._best):
            return False
        self._best = value
        return True
