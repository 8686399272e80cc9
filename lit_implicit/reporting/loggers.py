"""The loggers of a run: TensorBoard events and metrics.csv, both straight in its directory."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


class _NoHyperparameters:
    """Remove the hparams.yaml that Lightning's loggers write: config.yaml holds all settings."""

    log_dir: str

    def save(self) -> None:
        """Save what was logged."""
        super().save()  # type: ignore[misc]
        (Path(self.log_dir) / "hparams.yaml").unlink(missing_ok=True)


class RunTensorBoardLogger(_NoHyperparameters, TensorBoardLogger):
    """TensorBoard events."""


class RunCSVLogger(_NoHyperparameters, CSVLogger):
    """metrics.csv: one row per logging step, one column per metric."""


def run_loggers(folder: Path) -> list[Logger]:
    """Return the two loggers of a run directory."""
    where: dict[str, Any] = {"save_dir": folder, "name": "", "version": ""}
    return [RunTensorBoardLogger(**where, default_hp_metric=False), RunCSVLogger(**where)]
