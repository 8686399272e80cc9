"""The public data of FNO-DEQ: folders of example_00000.npy, example_00001.npy, ..., and grid.npy.

Each example is a dict with forces `f` of shape (frames, 2, H, W), vorticities `w` of shape
(frames, H, W), one steady pair a frame, and perhaps more. The first axis of a field is x.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit_flow.forces import check_fields
from lit_implicit_flow.safe_arrays import read_arrays
from lit_implicit_flow.samples import Scales

SCALES = Scales(force=0.0030435901**0.5, vorticity=0.1116228327**0.5)
"""The paper's: square roots of its fixed variances."""


def examples_of(folder: str, split: str, n_flows: Mapping[str, int]) -> list[Path]:
    """Return the examples of a split: the first for training, then validation, the last for test.

    Args:
        folder: Folder of all examples, which are sorted by name.
        split: `train`, `val` or `test`.
        n_flows: How many examples each of these splits has.

    Raises:
        DataError: If there are fewer than all splits need.
    """
    path = Path(folder).expanduser()
    found = sorted(path.glob("example_*.npy"))
    if not found:
        what = "is no folder" if not path.is_dir() else "holds no file example_*.npy"
        raise DataError(
            f"`data.folder` {folder!r} {what}. Give the folder of FNO-DEQ's data, with "
            "example_00000.npy and so on in it."
        )
    if (wanted := sum(n_flows.values())) > len(found):
        raise DataError(
            f"`data.folder` {folder!r} holds {len(found)} examples, {wanted} are wanted: "
            "`data.n_train`, `data.n_val` and `data.n_test` together."
        )
    n = n_flows[split]
    first = {"train": 0, "val": n_flows["train"], "test": len(found) - n}[split]
    return found[first : first + n]


def read_examples(
    paths: Sequence[Path], frame: int, stride: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Read one frame of each example, and every so many points of it.

    Args:
        paths: Files of one resolution.
        frame: Which frame, from 0 on.
        stride: Every how many points are taken along x and along y. The points are equally far
            apart around the square only if the stride divides their number.
        dtype: Precision.

    Returns:
        Forces, shape `(n, 2, N, N)`, and vorticities, `(n, N, N)`.

    Raises:
        DataError: If a file is not of the format, not square, not finite, or of another size.
    """
    forces: list[Tensor] = []
    vorticities: list[Tensor] = []
    for path in paths:
        example = read_arrays(path)
        force = _frame(example, "f", 4, frame, path)[:, ::stride, ::stride]
        vorticity = _frame(example, "w", 3, frame, path)[::stride, ::stride]
        if force.shape != (2, *vorticity.shape):
            raise DataError(
                f"{str(path)!r} has forces of shape {force.shape} and vorticities of "
                f"{vorticity.shape}; (2, H, W) and (H, W) are expected."
            )
        if forces and force.shape != forces[0].shape:
            raise DataError(
                f"{str(path)!r} has {force.shape[-1]} points a side, the files before it "
                f"{forces[0].shape[-1]}. All must be of one resolution."
            )
        parts = [torch.from_numpy(np.array(part, np.float64)) for part in (force, vorticity)]
        for name, part in zip("fw", parts, strict=True):
            check_fields(part, f"`{name}` of {str(path)!r}")
        forces.append(parts[0].to(dtype))
        vorticities.append(parts[1].to(dtype))
    return torch.stack(forces), torch.stack(vorticities)


def _frame(example: dict[str, Any], name: str, n_axes: int, frame: int, path: Path) -> Any:
    """Return a frame of a field."""
    field = example.get(name)
    if not isinstance(field, np.ndarray) or field.dtype.kind != "f":
        found = sorted(map(str, example))
        raise DataError(f"{str(path)!r} has no array {name!r} of numbers; it holds {found}.")
    if name == "w" and field.ndim == 4 and field.shape[1] == 1:
        field = field[:, 0]
    if field.ndim != n_axes:
        raise DataError(
            f"{name!r} of {str(path)!r} has shape {field.shape}; expected (frames, 2, H, W) of "
            "forces and (frames, H, W) of vorticities."
        )
    if frame >= len(field):
        raise DataError(
            f"{str(path)!r} has {len(field)} frames, so `data.frame` {frame} is too many; they "
            "are counted from 0."
        )
    return field[frame]
