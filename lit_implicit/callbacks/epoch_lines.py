"""A line per epoch, where no progress bar can be drawn: in the log of a batch queue."""

import sys
import time

from lightning.pytorch import Callback, LightningModule, Trainer


class EpochLines(Callback):
    """Print how training goes, one line an epoch: bars show nothing until the end of a file."""

    def __init__(self) -> None:
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the loss of training and the error of the last validation."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        shown = [f"{n} {float(metrics[n]):.4g}" for n in ("val/loss", "val/error") if n in metrics]
        most = trainer.max_epochs if trainer.max_epochs not in (None, -1) else "?"
        head = f"epoch {trainer.current_epoch + 1}/{most}, step {trainer.global_step}"
        seconds = f"{time.perf_counter() - self._since:.0f} s"
        print(", ".join([head, *shown, seconds]), file=sys.stderr, flush=True)  # noqa: T201
