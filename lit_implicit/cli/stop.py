"""A training that is asked to stop: after a step that all ranks agree on, with a checkpoint."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_implicit.cli.requeue import requeue_job


class StopOnSignal(Callback):
    """Stop on SIGTERM, on the first Ctrl-C, and when SLURM asks for a requeue.

    Handlers only leave a note. After an optimizer step the ranks reduce it, one number, and if any
    has one, all write the last checkpoint and leave. So it is whole: training goes on with the next
    batch as if nothing had happened, if an `EpochDataLoader` gives it. (Lightning's own handlers
    communicate and save wherever a rank happens to be; one that waits for the gradients of another
    never gets there.) A validation that is running comes to its end first, as its sums would be
    lost. Ctrl-C stops at once when pressed again, outside of training steps, and with several
    ranks, as it reaches them at different steps.
    """

    def __init__(self) -> None:
        self.interrupted = False
        """Whether Ctrl-C was pressed."""
        self._noted: set[int] = set()
        self._requeue_signal: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the signal of a requeue before Lightning does: it leaves one that has a handler."""
        self._noted.clear()
        self._requeue_signal = _requeue_signal(trainer)
        if self._requeue_signal is not None and _is_main_thread():
            signal.signal(self._requeue_signal, lambda number, _: self._note(number, trainer))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stand before Lightning's handler of SIGTERM, which it removes with its own at the end."""
        if not _is_main_thread():
            return
        signal.signal(signal.SIGTERM, lambda number, _: self._note(number, trainer))
        if trainer.world_size == 1:
            signal.signal(signal.SIGINT, lambda *_: self._interrupt(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, if asked to, behind an optimizer step; but not before the validation of an epoch.

        In between, the gradients that were accumulated would be lost.
        """
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self._is_asked(trainer):
            _save_last(trainer)
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save behind an epoch, where no validation did."""
        if self._is_asked(trainer):
            _save_last(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop behind an epoch, when all is written."""
        if self._is_asked(trainer):
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop behind the last epoch: do not begin the test."""
        if self._is_asked(trainer):
            self._stop(trainer)

    def _note(self, number: int, trainer: Trainer) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._noted.add(number)
        elif trainer.is_global_zero and number not in self._noted:
            self._noted.add(number)  # nothing to save: the job begins this command again
            print(requeue_job(), file=sys.stderr)  # noqa: T201

    def _interrupt(self, trainer: Trainer) -> None:
        if self.interrupted or not trainer.training:
            raise KeyboardInterrupt
        self.interrupted = True
        self._noted.add(signal.SIGINT)
        print(  # noqa: T201
            "\nStopping after this training step, with a checkpoint. Ctrl-C again stops at once.",
            file=sys.stderr,
        )

    def _is_asked(self, trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(bool(self._noted), all=False)

    def _stop(self, trainer: Trainer) -> None:
        agree = trainer.strategy.reduce_boolean_decision
        requeue = agree(self._requeue_signal in self._noted, all=False)
        if requeue and trainer.is_global_zero:
            print(requeue_job(), file=sys.stderr)  # noqa: T201
        raise SIGTERMException


def _requeue_signal(trainer: Trainer) -> int | None:
    """The signal on which SLURM's job is handed back, `#SBATCH --signal=SIGUSR1@120`."""
    environment: Any = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None and SLURMEnvironment.detect():
        environment = SLURMEnvironment()  # a single task has no strategy that asks for one
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal
    return None


def _save_last(trainer: Trainer) -> None:
    """Write `last.ckpt` where the trainer's `ModelCheckpoint` does, if it has not just done so."""
    checkpoint = trainer.checkpoint_callback
    if not (isinstance(checkpoint, ModelCheckpoint) and checkpoint.save_last):
        return
    if checkpoint.dirpath is None or checkpoint._last_global_step_saved == trainer.global_step:
        return
    name = checkpoint.CHECKPOINT_NAME_LAST + checkpoint.FILE_EXTENSION
    trainer.save_checkpoint(Path(checkpoint.dirpath) / name)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()  # which alone may ask for signals
