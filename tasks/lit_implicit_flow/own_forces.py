"""Forces of the user's own, for `predict`: .npy arrays."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit_flow.forces import sound_forces


def read_forces(files: Sequence[str], dtype: torch.dtype) -> tuple[Tensor, tuple[str, ...]]:
    """Read forces of shape (2, N, N) or (n, 2, N, N), all of one resolution.

    Returns:
        Forces, shape `(n, 2, N, N)`, and the name of each.

    Raises:
        DataError: If a file holds anything else.
    """
    forces: list[Tensor] = []
    names: list[str] = []
    for file in files:
        path = Path(file).expanduser()
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as err:
            raise DataError(
                f"Cannot read {file!r} of `data.files`: {err}. Write forces by `numpy.save`, as an "
                "array of shape (2, N, N) or (n, 2, N, N)."
            ) from err
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise DataError(f"{file!r} of `data.files` holds no array of floating-point numbers.")
        array = array[None] if array.ndim == 3 else array
        if array.ndim != 4 or array.shape[1] != 2 or not len(array):
            raise DataError(
                f"{file!r} of `data.files` has shape {array.shape}; expected (2, N, N) or "
                "(n, 2, N, N): component, x, y."
            )
        part = sound_forces(torch.from_numpy(array.astype(np.float64)), repr(file))
        if forces and part.shape[-1] != forces[0].shape[-1]:
            raise DataError(
                f"{file!r} has {part.shape[-1]} points a side, the files before it "
                f"{forces[0].shape[-1]}. Predict on each resolution in a run of its own."
            )
        forces.append(part)
        names += [path.name] if len(part) == 1 else [f"{path.name}[{i}]" for i in range(len(part))]
    return torch.cat(forces).to(dtype), tuple(names)
