"""Training that SLURM interrupts: save, hand the job back, and go on after the restart."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_implicit.cli.ranks import is_restarted

_NAME = "hpc_ckpt_"  # Lightning's, which looks for it in jobs of SLURM


class Requeue(Callback):
    """Save and requeue the job of SLURM that gets its signal (`#SBATCH --signal=SIGUSR1@120`).

    Lightning does so too, but within the signal's handler, wherever each rank happens to be: one
    that waits for the gradients of another never gets there. Here the handler leaves a note. After
    each step the ranks agree on whether any of them has one, and then save, all after the same
    step, and stop with exit code 143. Job arrays are requeued by task.

    Args:
        requeue_signal: The signal that SLURM sends.
    """

    def __init__(self, requeue_signal: int) -> None:
        self.requeue_signal = requeue_signal
        self._asked = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal before Lightning does: it leaves one alone that has a handler."""
        self._asked = False
        signal.signal(self.requeue_signal, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, if any rank was asked to."""
        if not trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            return
        folder = Path(trainer.strategy.broadcast(str(trainer.default_root_dir)))
        path = folder / f"{_NAME}{trainer.global_step}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            print(f"Saved {path}. {_requeue()}", file=sys.stderr)  # noqa: T201
        raise SIGTERMException()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what was saved on the way: nothing is to start from there any more."""
        if trainer.is_global_zero:
            for path in Path(trainer.default_root_dir).glob(f"{_NAME}*.ckpt"):
                path.unlink()

    def _note(self, *_: Any) -> None:
        self._asked = True


def requeue_callbacks(environment: Any) -> list[Callback]:
    """Return what a trainer in this cluster environment needs to be requeued.

    Args:
        environment: Lightning's cluster environment, or None.
    """
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return []
    assert environment.requeue_signal is not None  # but on Windows, where there is no SLURM
    return [Requeue(environment.requeue_signal)]


def newest_checkpoint(trainer: Trainer) -> Path | None:
    """Return where a restarted training goes on; None where it starts."""
    if not is_restarted():
        return None
    found = [*Path(trainer.default_root_dir).glob(f"{_NAME}*.ckpt")]
    checkpoint = trainer.checkpoint_callback
    if isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is not None:
        found += Path(checkpoint.dirpath).glob("last.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _requeue() -> str:
    """Hand this job back to SLURM, and say in words whether it took it."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch("[0-9_]+", job):
        return f"SLURM names no job ({job!r}): start it again by hand."
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as err:
        return f"Job {job} is not requeued: {err}."
    if done.returncode:
        return f"Job {job} is not requeued: {' '.join(done.stderr.split())}"
    return f"Job {job} is requeued."
