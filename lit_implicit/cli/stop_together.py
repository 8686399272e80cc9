"""Training on several ranks that is asked to stop: all after the same step; and SLURM's requeue."""

import os
import re
import signal
import subprocess
import sys
import threading
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class StopTogether(Callback):
    """Stop after a step that the ranks agree on, on SIGTERM or when SLURM asks for a requeue.

    Lightning's handlers communicate, and save, wherever a rank happens to be when its signal comes.
    One that waits for the gradients of another never gets there, so that all wait for ever. Here
    the handler leaves a note; after each step the ranks reduce it, one number, and stop if any of
    them has one. `SaveOnSignal` then writes the checkpoint. Job arrays are requeued by task.

    Args:
        requeue_signal: The signal on which a job of SLURM is requeued
            (`#SBATCH --signal=SIGUSR1@120`); None means none.
    """

    def __init__(self, requeue_signal: int | None = None) -> None:
        self.requeue_signal = requeue_signal
        self._noted: set[int] = set()
        self._requeues = False
        self._stop: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal of a requeue before Lightning does: it leaves one that has a handler."""
        self._noted.clear()
        self._requeues = False
        if self.requeue_signal is not None and _is_main_thread():
            signal.signal(self.requeue_signal, self._note)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stand before Lightning's handler of SIGTERM, which it removes with its own at the end."""
        if _is_main_thread():
            self._stop = signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning stop behind this step, if any rank was asked to."""
        agree = trainer.strategy.reduce_boolean_decision
        if agree(bool(self._noted), all=False) and callable(self._stop):
            self._requeues = agree(self.requeue_signal in self._noted, all=False)
            self._stop(signal.SIGTERM, None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Hand the job back to SLURM; the checkpoint is written."""
        stopped = isinstance(exception, SIGTERMException)
        if stopped and self._requeues and trainer.is_global_zero:
            print(_requeue(), file=sys.stderr)  # noqa: T201

    def _note(self, number: int, _: Any) -> None:
        self._noted.add(number)


def stop_callbacks(trainer: Trainer) -> list[Callback]:
    """Return what a trainer needs to stop well: nothing for a single process outside of SLURM."""
    environment: Any = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None and SLURMEnvironment.detect():
        environment = SLURMEnvironment()  # a single task has no strategy that asks for one
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return [StopTogether(environment.requeue_signal)]
    return [StopTogether()] if trainer.world_size > 1 else []


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()  # which alone may ask for signals


def _requeue() -> str:
    """Hand this job back to SLURM, and say in words whether it took it."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch("[0-9_]+", job):
        return f"SLURM names no job ({job!r}): submit it again by hand."
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as err:
        return f"SLURM job {job} is not requeued: {err}"
    if done.returncode:
        return f"SLURM job {job} is not requeued: {' '.join(done.stderr.split())}"
    return f"SLURM job {job} is requeued, and will go on from here."
