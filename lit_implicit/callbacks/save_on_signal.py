"""A training that is asked to stop: after the step that it is at, with a checkpoint."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException


class SaveOnSignal(Callback):
    """Write the last checkpoint on SIGTERM and on Ctrl-C, in the middle of an epoch too.

    Lightning ends the training step that it is at when SIGTERM comes; here the first Ctrl-C does
    the same, and a second one stops at once. Between two steps all is consistent, so the checkpoint
    is whole: with an `EpochDataLoader`, training goes on with the next batch as if nothing had
    happened. During validation nothing is written: its sums would be lost, and the last epoch's
    checkpoint is there. Of several ranks, the first writes, without waiting for the others; there,
    Ctrl-C stops at once, as it reaches all ranks at different steps.
    """

    def __init__(self) -> None:
        self.interrupted = False
        """Whether Ctrl-C was pressed."""
        self._previous: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to Ctrl-C, from the main thread, which alone is told."""
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(
                signal.SIGINT, lambda number, frame: self._interrupt(trainer)
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the checkpoint, if this is the end of a training step on SIGTERM."""
        self._restore()
        if isinstance(exception, SIGTERMException) and trainer.training:
            save_last(trainer)

    def _interrupt(self, trainer: Trainer) -> None:
        if self.interrupted or not trainer.training:
            raise KeyboardInterrupt
        self.interrupted = True
        print(  # noqa: T201
            "\nStopping after this training step, with a checkpoint. Ctrl-C again stops at once.",
            file=sys.stderr,
        )
        signal.raise_signal(signal.SIGTERM)

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


def save_last(trainer: Trainer) -> None:
    """Write `last.ckpt` where the trainer's `ModelCheckpoint` does; without one, nothing."""
    checkpoint = trainer.checkpoint_callback
    if not (isinstance(checkpoint, ModelCheckpoint) and checkpoint.save_last):
        return
    if trainer.is_global_zero and checkpoint.dirpath is not None:
        name = checkpoint.CHECKPOINT_NAME_LAST + checkpoint.FILE_EXTENSION
        # Not `save_checkpoint`, which waits for all ranks: they may be anywhere by now.
        content = trainer._checkpoint_connector.dump_checkpoint()
        trainer.strategy.checkpoint_io.save_checkpoint(content, Path(checkpoint.dirpath) / name)
