"""Tensors in the safetensors files of a folder, read one by one."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_implicit.errors import CheckpointError


class Shards:
    """The tensors of a checkpoint in one or several safetensors files, with or without an index.

    Only headers are read until a tensor is asked for. Tensors are mapped from their file: they
    take memory as they are used, and once.

    Args:
        folder: The folder. An index, `*.safetensors.index.json`, says which files count; without
            one all do.

    Attributes:
        shapes: Shape of each tensor by name.

    Raises:
        CheckpointError: If there is no file, one is missing, cut short or broken, a tensor is not
            in the file that the index says, or two files hold one of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = _index(folder)
        files = sorted({folder / file for file in index.values()}) or sorted(
            folder.glob("*.safetensors")
        )
        if not files:
            raise CheckpointError(
                f"The folder {str(folder)!r} holds no *.safetensors. Fetch the model's weights "
                "into it."
            )
        if absent := [file.name for file in files if not file.is_file()]:
            raise CheckpointError(
                f"{', '.join(absent)}: missing in {str(folder)!r}, where the index names "
                f"{len(files)} files. Fetch what is missing."
            )
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file_of: dict[str, Path] = {}
        for file in files:
            with _opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 # it is no mapping
                    if name in self._file_of:
                        raise CheckpointError(
                            f"{self._file_of[name].name} and {file.name} in {str(folder)!r} both "
                            f"hold {name!r}. Leave the files of one checkpoint only."
                        )
                    self._file_of[name] = file
                    self.shapes[name] = tuple(tensors.get_slice(name).get_shape())
        for name, found in index.items():
            if self._file_of.get(name) != folder / found:
                raise CheckpointError(
                    f"{found} in {str(folder)!r} does not hold {name!r}, though the index says so. "
                    "Fetch the file again."
                )

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each name and its tensor, file by file."""
        names = defaultdict(list)
        for name, file in self._file_of.items():
            names[file].append(name)
        for file, some in names.items():
            with _opened(file) as tensors:
                for name in some:
                    yield name, tensors.get_tensor(name)


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: If it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as err:
        raise CheckpointError(
            f"{str(path)!r} is nested too deeply to describe a model. Fetch it again."
        ) from err
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) else err
        raise CheckpointError(f"{str(path)!r} cannot be read: {reason}. Fetch it again.") from err
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{str(path)!r} must hold a JSON object, got a {type(content).__name__}. Fetch it "
            "again."
        )
    return content


def _index(folder: Path) -> dict[str, str]:
    """Return the file of each tensor as the index says, empty without one."""
    paths = sorted(folder.glob("*.safetensors.index.json"))
    if len(paths) > 1:
        raise CheckpointError(
            f"{str(folder)!r} holds {len(paths)} indices: {', '.join(p.name for p in paths)}. "
            "Leave the files of one checkpoint only."
        )
    if not paths:
        return {}
    files = read_json(paths[0]).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise CheckpointError(f"{str(paths[0])!r} has no `weight_map`. Fetch it again.")
    for name, file in files.items():
        if not isinstance(file, str) or not file or Path(file).name != file:
            raise CheckpointError(
                f"{str(paths[0])!r} puts {name!r} into {file!r}, which is no name of a file in its "
                "folder. Fetch it again."
            )
    return files


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            yield tensors
    except SafetensorError as err:
        raise CheckpointError(
            f"{str(file)!r} is cut short or broken, at {file.stat().st_size:,} bytes: {err}. Fetch "
            "it again."
        ) from err
