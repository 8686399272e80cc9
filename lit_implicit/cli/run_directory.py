"""Where a run writes: one folder for everything, the same on all ranks."""

import os
from datetime import datetime
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.errors import ConfigError

# Set by rank zero before the other ranks start: their launcher copies the environment.
_VARIABLE = "LIT_IMPLICIT_RUN_DIR"


def make_run_directory(given: str | None, name: str, command: str) -> Path:
    """Make the folder of this run.

    Args:
        given: The folder that the user named, if any.
        name: Name of the task, or of the model where no task is named.
        command: The command, which marks the folders of all but `fit`.

    Returns:
        `given`, or `runs/<name>/<date>_<time>` below the current folder, with a number behind it
        if that exists.

    Raises:
        ConfigError: If the folder that the user named holds a run already.
    """
    if getattr(rank_zero_only, "rank", 0):
        # Where another launcher started the ranks, this is a guess, and nothing is written to it:
        # what ranks write, they write where rank zero tells them.
        return Path(os.environ.get(_VARIABLE) or given or Path("runs") / name)
    folder = Path(given) if given else _new(Path("runs") / name, command)
    if given and (folder / "config.yaml").exists():
        raise ConfigError(
            f"`run_dir` {given!r} already holds a run. Name another folder, or leave `run_dir` out "
            "for a new one below runs/."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(
            f"`run_dir` {str(folder)!r} cannot be made: {err.strerror}. Name a folder that you may "
            "write to."
        ) from err
    os.environ[_VARIABLE] = str(folder)
    return folder


def forget_run_directory() -> None:
    """Undo what `make_run_directory` left in the environment: the next run has its own."""
    os.environ.pop(_VARIABLE, None)


def _new(parent: Path, command: str) -> Path:
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + (
        "" if command == "fit" else f"_{command}"
    )
    for number in range(1, 1000):
        folder = parent / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"There are a thousand runs in {str(parent / stem)!r}: give `--run_dir`.")
