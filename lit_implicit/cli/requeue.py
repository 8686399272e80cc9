"""Hand a job back to SLURM."""

import os
import re
import subprocess


def requeue_job() -> str:
    """Hand this job back to SLURM, one of an array by its task; say in words whether it took it."""
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
