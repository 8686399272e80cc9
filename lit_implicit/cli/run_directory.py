"""Where a run writes: one folder for everything, the same on all ranks and after a restart."""

import os
from datetime import datetime
from pathlib import Path

from lit_implicit.cli.ranks import is_first_process, is_restarted, slurm_step
from lit_implicit.errors import ConfigError
from lit_implicit.files import remove_leftovers

# Set by rank zero before the other ranks start, where Lightning launches them: its launcher copies
# the environment.
_VARIABLE = "LIT_IMPLICIT_RUN_DIR"


def make_run_directory(given: str | None, name: str, command: str) -> Path:
    """Make the folder of this run, on rank zero; return it on all ranks.

    Args:
        given: The folder that the user named, if any.
        name: Name of the task, or of the model where no task is named.
        command: The command, which marks the folders of all but `fit`.

    Returns:
        `given`, or `runs/<name>/<date>_<time>` below the current folder, with a number behind it
        if that exists, and under `srun` with `_job<job>.<step>`, by which a requeued job finds the
        folder that it has written to before. Ranks that torchrun or `srun` started cannot know the
        time in rank zero's folder: they get `runs/<name>`, and write nothing that rank zero does
        not tell them where.

    Raises:
        ConfigError: If the folder that the user named holds a run already, unless that is this one
            before it was restarted.
        SystemExit: The same, on other ranks: rank zero says why.
    """
    parent = Path("runs") / name
    told = None if is_first_process() else os.environ.get(_VARIABLE)
    if told:
        return Path(told)
    folder = Path(given) if given else _of_this_job(parent)
    if given and not is_restarted():
        try:
            _check_unused(Path(given))
        except OSError as err:  # a name too long, say
            raise ConfigError(f"`run_dir` {given!r} cannot be used: {err.strerror}.") from err
    if not is_first_process():
        return folder or parent
    try:
        folder = folder or _new(parent, command)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(
            f"`run_dir` {str(folder or parent)!r} cannot be made: {err.strerror}. Name a folder "
            "that you may write to."
        ) from err
    _keep_metrics(folder)
    remove_leftovers(folder / "checkpoints")  # of a run that was killed while it wrote one
    os.environ[_VARIABLE] = str(folder)
    return folder


def forget_run_directory() -> None:
    """Undo what `make_run_directory` left in the environment: the next run has its own."""
    os.environ.pop(_VARIABLE, None)


def _check_unused(folder: Path) -> None:
    """Refuse a folder with a run in it, on all ranks: else those that go on would wait for ever.

    No rank is late: rank zero writes the config only after all of them have met.
    """
    if not (folder / "config.yaml").exists():
        return
    if not is_first_process():
        raise SystemExit(2)
    raise ConfigError(
        f"`run_dir` {str(folder)!r} already holds a run. Name another folder, or leave `run_dir` "
        "out for a new one below runs/."
    )


def _of_this_job(parent: Path) -> Path | None:
    """Return the folder that this job has written to before SLURM requeued it."""
    step = slurm_step()
    if step is None or not is_restarted():
        return None
    return max(parent.glob(f"*_job{step}"), default=None)


def _keep_metrics(folder: Path) -> None:
    """Keep what was logged before a restart: Lightning's logger deletes a metrics.csv it finds."""
    metrics = folder / "metrics.csv"
    if metrics.is_file():
        metrics.rename(folder / f"metrics_{len([*folder.glob('metrics_*.csv')]) + 1}.csv")


def _new(parent: Path, command: str) -> Path:
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + (
        "" if command == "fit" else f"_{command}"
    )
    step = slurm_step()
    job = "" if step is None else f"_job{step}"
    for number in range(1, 1000):
        folder = parent / (f"{stem}{job}" if number == 1 else f"{stem}_{number}{job}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"There are a thousand runs in {str(parent / stem)!r}: give `--run_dir`.")
