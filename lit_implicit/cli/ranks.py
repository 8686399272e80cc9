"""What the launcher tells each process before any of them can talk to another."""

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.errors import ConfigError


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


def check_launcher(n_devices: int, n_nodes: int) -> None:
    """Check that the processes that torchrun or `srun` started are those that a trainer expects.

    Else each of them would train by itself, or wait for ever for others.

    Raises:
        ConfigError: If they are not, on rank zero.
        SystemExit: The same, on other ranks.
    """
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if not kind.detect() or (kind is SLURMEnvironment and slurm_step() is None):
            continue  # a batch script may well start a single process, without `srun`
        try:
            kind().validate_settings(n_devices, n_nodes)
        except (RuntimeError, ValueError) as err:
            if not is_first_process():
                raise SystemExit(2) from None
            raise ConfigError(
                "The processes that were started are not those that the trainer expects, devices "
                f"times nodes: {err}"
            ) from err
        return


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0
