"""What others raise where a user or the machine is at fault, as errors of ours: one line each."""

import errno
import traceback
from pathlib import Path

import torch
from lightning import pytorch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_implicit.errors import CheckpointError, ConfigError, LitImplicitError, ResourceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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
    if isinstance(err, OSError) and (
        err.errno in _FULL or (err.errno in _FORBIDDEN and _is_below(err.filename, folder))
    ):
        return _storage(err, folder)
    is_runtime = isinstance(err, RuntimeError)
    full = is_runtime and "can't allocate memory" in str(err)
    if full or isinstance(err, torch.OutOfMemoryError | MemoryError):
        return _memory(err)
    # Not every build of torch has the class.
    lost = getattr(torch.distributed, "DistError", ())
    if isinstance(err, lost) or (is_runtime and "gloo" in str(err) and "by peer" in str(err)):
        return ResourceError(
            "Another process of this run is gone, or cannot be reached. What stopped it stands in "
            f"its own output, above or in its log. ({' '.join(str(err).split())})"
        )
    if isinstance(err, ValueError) and _raised_by_lightning(err):  # settings that do not suit
        return ConfigError(str(err))
    if isinstance(err, Exception) and _while_restoring(err):
        return _restoring(err)
    return None


def _is_below(path: object, folder: Path | None) -> bool:
    """Whether a file belongs to the run: what else may not be touched is not ours to explain."""
    return path is None or (
        folder is not None and Path(str(path)).absolute().is_relative_to(folder.absolute())
    )


def _storage(err: OSError, folder: Path | None) -> ResourceError:
    what = "The disk is full" if err.errno in _FULL else "Writing is not allowed"
    where = str(err.filename or folder or Path.cwd())
    remedy = "Make room, or name" if err.errno in _FULL else "Name"
    return ResourceError(
        f"{what}: {where!r} ({err.strerror}). {remedy} another folder for what the run writes, "
        "`--run_dir FOLDER`. The checkpoints written before are whole."
    )


def _memory(err: BaseException) -> ResourceError:
    return ResourceError(
        "There is not enough memory. Lower the batch size. `Unrolled` keeps all iterations in "
        f"memory, `Implicit` and `JacobianFree` a single one. ({' '.join(str(err).split())})"
    )


def _raised_by_lightning(err: BaseException) -> bool:
    frames = traceback.extract_tb(err.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(pytorch.__file__).parent)


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
