"""Blur kernels in files."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lit_implicit.errors import DataError

SUFFIXES = (".npy", ".png", ".tif", ".tiff", ".bmp", ".pgm")
"""Endings of the names of files that may hold a kernel."""


def read_kernel(path: Path, index: int | None = None, *, normalize: bool = False) -> NDArray[Any]:
    """Read a blur kernel of sum 1.

    An array (.npy) is used as it is. An image is divided by its sum: gray levels have no unit.

    Args:
        path: A file that ends in one of `SUFFIXES`.
        index: Which kernel, where a file holds several: an array of three axes, or of objects as in
            the `Levin09.npy` that deblurring codes pass around.
        normalize: Divide an array by its sum, too.

    Returns:
        Float64, shape `(rows, columns)`.

    Raises:
        DataError: If there is no such kernel: unreadable, not of two axes, of negative or not
            finite entries, or of another sum.
    """
    name = f"The kernel in {str(path)!r}"
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{name} cannot be read: the file must end in {', '.join(SUFFIXES)}.")
    try:
        if path.suffix.lower() == ".npy":
            kernel = _select(_load(path), index, name)
        else:
            if index is not None:
                raise DataError(
                    f"{name} is an image, which holds one; leave `data.kernel_index` out, got "
                    f"{index}."
                )
            kernel, normalize = _load_image(path), True
        kernel = np.asarray(kernel, dtype=np.float64)
    except DataError:
        raise
    except Exception as err:  # the readers of files raise what they happen upon
        raise DataError(f"{name} cannot be read: {type(err).__name__}: {err}") from err
    if kernel.ndim != 2 or not kernel.size:
        raise DataError(f"{name} must have two axes (rows, columns), got shape {kernel.shape}.")
    if not np.isfinite(kernel).all() or kernel.min() < 0:
        worst = float(kernel[~np.isfinite(kernel) | (kernel < 0)][0])
        raise DataError(f"{name} must have no negative entry, and finite ones, got {worst:.4g}.")
    total = float(kernel.sum())
    if total == 0 or not (normalize or abs(total - 1) <= 1e-3):
        raise DataError(
            f"{name} must have sum 1, to keep the light, got {total:.6g}. "
            + ("It is dark." if total == 0 else "`data.normalize_kernel: true` divides by it.")
        )
    return kernel / total


def _select(array: NDArray[Any], index: int | None, name: str) -> Any:
    """Return one kernel of an array that may hold several."""
    if array.dtype != object and array.ndim == 2:
        if index is not None:
            raise DataError(f"{name} is the only one; leave `data.kernel_index` out, got {index}.")
        return array
    if array.dtype == object:
        array = array.reshape(-1)  # Levin's kernels come as (1, 8) or (8,)
    if array.ndim not in (1, 3):
        raise DataError(f"{name} must have two axes (rows, columns), got shape {array.shape}.")
    if array.dtype != object and array.ndim == 1:
        return array
    if index is None or not 0 <= index < len(array):
        raise DataError(
            f"{name} is one of {len(array)}; `data.kernel_index` must be 0 to {len(array) - 1}, "
            f"got {index}."
        )
    return array[index]


def _load_image(path: Path) -> NDArray[Any]:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        deep = image.mode.startswith(("I", "F"))  # more than 8 bits
        return np.asarray(image if deep else image.convert("L"))


def _load(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is not None and header(file)[2].hasobject:
            return np.asarray(_ArrayUnpickler(file).load())
    return np.asarray(np.load(path, allow_pickle=False))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays of arrays, which NumPy stores as pickles; a pickle of anything else is code."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        array = np.zeros(1)
        needed: tuple[Any, ...] = (
            np.ndarray, np.dtype, array.__reduce__()[0], array.__reduce_ex__(5)[0],
        )  # fmt: skip
        self._known = {item.__name__: item for item in needed}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self._known:
            return self._known[name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, where only arrays are read")
