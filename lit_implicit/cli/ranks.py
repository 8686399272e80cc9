"""What the launcher tells each process before any of them can talk to another."""

import os

from lightning.pytorch.utilities import rank_zero_only


def is_first_process() -> bool:
    """Say whether this process is the one of all nodes that writes and prints.

    Lightning reads the rank off `RANK` (torchrun), `LOCAL_RANK` (its own launcher) or
    `SLURM_PROCID` (srun). Where its own launcher is started by hand on every node, the first
    process of each has none of them, but a `NODE_RANK`.
    """
    return not getattr(rank_zero_only, "rank", 0) and _number("NODE_RANK") == 0


def is_restarted() -> bool:
    """Say whether SLURM has requeued this job, or torchrun restarted its workers."""
    return _number("SLURM_RESTART_COUNT") > 0 or _number("TORCHELASTIC_RESTART_COUNT") > 0


def slurm_step() -> str | None:
    """Return `<job>.<step>` of the `srun` that runs this process, the same after a requeue."""
    job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID")
    return None if job is None or step is None else f"{job}.{step}"


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0
