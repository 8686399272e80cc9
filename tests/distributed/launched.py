"""`lit-implicit` as launchers start it; importable as `launched`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from two_ranks import free_port

ROOT = Path(__file__).parents[2]
# A command of the docs as it stands, but for its length.
SHORT = [
    "--data.n_train=64", "--data.n_val=15", "--data.n_test=15", "--data.batch_size=16",
    "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.log_every_n_steps=1",
    *(f"--{name}=null" for name in ("test_time_curve", "lipschitz_curve", "regularity", "audit")),
]  # fmt: skip
SIGNALLER = """
import os, signal
from lightning.pytorch import Callback

class Signaller(Callback):
    def on_train_batch_start(self, trainer, *args):
        if f"{trainer.global_rank}:{trainer.global_step}" == os.environ.get("SIGNAL_AT"):
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
"""


def start(arguments, folder, **environment):
    """Start a program in `folder`, which sees the configs as in a clone, and its own modules."""
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(ROOT / "configs")
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [str(argument) for argument in arguments], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def ends(processes, timeout=280):
    """Wait for the end of all; return code, output and errors of each."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found


def torchrun(line, folder, *more, **environment):
    """Start a line that begins with `torchrun`, as a shell does."""
    program, *arguments = shlex.split(line)
    assert program == "torchrun"
    path = Path(sys.executable).with_name("torchrun")
    return start([path, *arguments, *more], folder, **environment)


def srun(arguments, folder, n_ranks=2, n_nodes=1, **environment):
    """Start `lit-implicit` in the environment that `srun` makes, a process per task."""
    job = {
        "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": str(n_ranks), "SLURM_NTASKS_PER_NODE": str(n_ranks // n_nodes),
        "SLURM_NNODES": str(n_nodes), "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **environment,
    }  # fmt: skip
    per_node = n_ranks // n_nodes
    program = Path(sys.executable).with_name("lit-implicit")
    return [
        start(
            [program, *arguments], folder, **job, SLURM_PROCID=str(rank),
            SLURM_LOCALID=str(rank % per_node), SLURM_NODEID=str(rank // per_node),
        )
        for rank in range(n_ranks)
    ]  # fmt: skip


def written(folder):
    """The folders below `folder` in which anything was written, without what was put there."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    ]
    given = {"signaller.py", "extras.yaml", "scontrol", "job"}
    return {path.relative_to(folder) for path in files if path.name not in given}


def outcome(folder):
    report = json.loads((folder / "report.json").read_text())
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return report, last["state_dict"]
