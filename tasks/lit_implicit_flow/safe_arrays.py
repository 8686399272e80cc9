"""Dicts of arrays from pickled .npy files, without running what a pickle may ask for."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lit_implicit.errors import DataError

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")  # before and after numpy 2
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}
"""All that a pickle of numpy arrays names."""


class _ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, texts, numbers and numpy arrays; refuses the name of anything else.

    `numpy.load(allow_pickle=True)` runs whatever code the file's author chose.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it belongs to an array.

        Raises:
            pickle.UnpicklingError: If it does not.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for `{module}.{name}`, which is no array")
        return super().find_class(module, name)


def read_arrays(path: Path) -> dict[str, Any]:
    """Read a dict of arrays that was saved by `numpy.save(path, {...})`.

    Raises:
        DataError: If the file is anything else, or names anything but numpy arrays.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            if shape != () or not dtype.hasobject:
                raise ValueError(f"it holds an array of shape {shape} and type {dtype}")
            content = _ArraysOnly(io.BytesIO(file.read())).load()
        found = content.item() if isinstance(content, np.ndarray) else content
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except Exception as err:  # a damaged pickle can raise anything
        raise DataError(
            f"Cannot read {str(path)!r} as a dict of arrays, as `numpy.save` writes it: {err}. "
            "Nothing but numpy arrays is unpickled: other content could be code."
        ) from err
    return found
