"""How checkpoints are written and read: whole or not at all, and without running their code."""

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_implicit.errors import CheckpointError
from lit_implicit.files import replace_whole

_REMEDY = "Name another file from the `checkpoints` folder of a run directory."


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written in place of the old one at once, read as data.

    Lightning's own goes through the system's temporary folder; where that is another disk, a full
    disk or a kill leaves half of a checkpoint in place of the last good one. And of a URL it
    unpickles objects, which is to run whatever code its author put there.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; one in the cloud as Lightning does."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replace_whole(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; objects are unpickled only if `weights_only` is False.

        Raises:
            CheckpointError: If it cannot be read, or is no checkpoint of Lightning.
        """
        safe = weights_only is not False
        if "://" in str(path):
            with _explained(str(path)):
                content = super().load_checkpoint(path, map_location, weights_only=safe)
            return _checked(content, str(path))
        return read_checkpoint(path, map_location=map_location, weights_only=safe)


def read_checkpoint(
    path: str | Path,
    *,
    map_location: Any = "cpu",
    weights_only: bool = True,
    plain: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint file of Lightning.

    Args:
        path: The file.
        map_location: As of `torch.load`.
        weights_only: Refuse pickled objects, which could run any code.
        plain: Take a file of nothing but weights by name, too, as `torch.save(module.state_dict())`
            writes it.

    Raises:
        CheckpointError: If the file does not exist, is damaged, holds objects, or is no checkpoint
            of Lightning.
    """
    path = Path(path)
    if weights_only:
        check_is_archive(path)
        _check_sums(path)
    with _explained(str(path)):
        content = torch.load(path, map_location=map_location, weights_only=weights_only)
    if plain and isinstance(content, dict) and "state_dict" not in content:
        weights = {name: w for name, w in content.items() if isinstance(w, torch.Tensor)}
        content = {"state_dict": weights} if weights else content
    return _checked(content, str(path))


def check_is_archive(path: Path) -> None:
    """Refuse at a glance what can be no checkpoint.

    Raises:
        CheckpointError: If there is no such file, or it is no archive.
    """
    if path.is_dir() and not any(path.glob("*.ckpt")) and (path / "checkpoints").is_dir():
        path = path / "checkpoints" / "?"
    elif path.is_dir():
        path = path / "?"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.ckpt")))
        raise CheckpointError(
            f"Checkpoint {str(path)!r} does not exist. In its folder: {there or 'no checkpoint'}."
        )
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint, or cut off: torch's are zip archives. {_REMEDY}"
        )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever torch says of a file that it cannot read into one line."""
    try:
        yield
    except pickle.UnpicklingError as err:
        raise CheckpointError(
            f"Checkpoint {name!r} holds pickled objects, not weights alone: to read them is to run "
            "their author's code. If you trust it, give `--weights_only false`."
        ) from err
    except Exception as err:
        reason = (str(err).strip() or type(err).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"Checkpoint {name!r} cannot be read: {reason}. {_REMEDY}") from err


def _check_sums(path: Path) -> None:
    """Look at the archive's checksums, as torch does not: a flipped bit is a wrong weight."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as err:
        raise CheckpointError(f"Checkpoint {str(path)!r} is damaged: {err}. {_REMEDY}") from err
    if broken is not None:
        raise CheckpointError(
            f"Checkpoint {str(path)!r} is damaged: the checksum of its part {broken!r} is wrong. "
            f"{_REMEDY}"
        )


def _checked(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(
            f"{name!r} is no checkpoint of Lightning: it has no 'state_dict'. {_REMEDY}"
        )
    # Without it Lightning takes no checkpoint; one that was written by hand may well lack it.
    content.setdefault("pytorch-lightning_version", lightning.__version__)
    return content
