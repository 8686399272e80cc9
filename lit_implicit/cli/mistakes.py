"""What others raise where a user or the machine is at fault, as errors of ours: one line each."""

import errno
import traceback
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_implicit.errors import CheckpointError, ConfigError, LitImplicitError, ResourceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def as_mistake(err: BaseException, folder: Path | None) -> LitImplicitError | None:
    """Return the error that says in one line what its user can do, or None if it is a bug.

    Args:
        err: What stopped a run; an error of ours is no mistake of others.
        folder: The run directory.
    """
    if isinstance(err, LitImplicitError):
        return None
    if isinstance(err, MisconfigurationException):  # Lightning's word for a user's mistake
        return ConfigError(str(err))
    if isinstance(err, OSError) and err.errno in (*_FULL, *_FORBIDDEN):
        return _storage(err, folder)
    if isinstance(err, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(err):
        return _memory(err)
    if isinstance(err, Exception) and _while_restoring(err):
        return _restoring(err)
    return None


def _storage(err: OSError, folder: Path | None) -> ResourceError:
    what = "The disk is full" if err.errno in _FULL else "Writing is not allowed"
    where = str(err.filename or folder or Path.cwd())
    remedy = "Make room, or name" if err.errno in _FULL else "Name"
    return ResourceError(
        f"{what}: {where!r} ({err.strerror}). {remedy} another folder for what the run writes, "
        "`--run_dir FOLDER`. The checkpoints written before are whole."
    )


def _memory(err: BaseException) -> ResourceError:
    text = str(err).strip().partition("\n")[0].partition(". ")[0] or type(err).__name__
    return ResourceError(
        f"Not enough memory: {text}. Lower the batch size. `Unrolled` keeps all iterations "
        "in memory, `Implicit` and `JacobianFree` a single one."
    )


def _while_restoring(err: Exception) -> bool:
    """Whether a checkpoint was being put into model, optimizer, schedulers and loops."""
    frames = traceback.extract_tb(err.__traceback__)
    return any(frame.filename.endswith("checkpoint_connector.py") for frame in frames) and any(
        frame.name in ("load_state_dict", "load_optimizer_state_dict")
        or frame.name.startswith("restore")
        for frame in frames
    )


def _restoring(err: Exception) -> CheckpointError:
    reason = " ".join(str(err).split()) or type(err).__name__
    reason = f"no {reason}" if isinstance(err, KeyError) else reason
    return CheckpointError(
        "The checkpoint does not fit the model, optimizer or callbacks that the settings describe: "
        f"{reason}. The settings it was trained with stand in config.yaml of its run. For its "
        "weights alone, give `--model.init_weights` in place of `--ckpt_path`."
    )
