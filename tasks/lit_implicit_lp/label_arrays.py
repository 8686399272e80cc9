"""Labelled linear programs as flat arrays, one after the other, as stored and as loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_implicit_lp.generator import FEATURES
from lit_implicit_lp.problem import LinearProgram

Arrays = dict[str, NDArray[Any]]

PROGRAM_FIELDS = {
    **dict.fromkeys(("c", "lower", "upper"), "variables"),
    **dict.fromkeys(("b", "is_equality"), "constraints"),
    **dict.fromkeys(("rows", "columns", "coefficients"), "nonzeros"),
}

_DTYPES = {
    **dict.fromkeys(("index", "rows", "columns", "status_counts"), np.int64),
    **dict.fromkeys(("n_variables", "n_constraints", "n_nonzeros"), np.int64),
    **dict.fromkeys(("is_equality", "degenerate"), np.bool_),
}


def fields(modes: Sequence[str]) -> dict[str, type[np.generic]]:
    """Return the names of a chunk's arrays and their types: all that `label_chunk` returns."""
    names = [*PROGRAM_FIELDS, "index", "n_variables", "n_constraints", "n_nonzeros"]
    names += ["objective", "degenerate", "target", "status_counts"]
    types = {name: _DTYPES.get(name, np.float64) for name in names}
    for mode in modes:
        types |= {f"delta_{mode}": np.float64, f"target_{mode}": np.float64}
        types[f"valid_{mode}"] = np.bool_
    return types


def kind(field: str) -> str:
    """Say what a field has one entry of: programs, variables, constraints or nonzeros."""
    name, _, mode = field.partition("_")
    if name == "delta":
        return PROGRAM_FIELDS[FEATURES[mode]]
    if name in ("target", "shift"):
        return "variables"
    return PROGRAM_FIELDS.get(field, "programs")


@dataclass(frozen=True, eq=False)
class LabelledPrograms:
    """Programs with their labels, as flat arrays in the form of `label_chunk`.

    Args:
        arrays: The arrays by name.
    """

    arrays: Arrays

    @classmethod
    def join(cls, chunks: Sequence[Arrays]) -> "LabelledPrograms":
        """Put the programs of several chunks one after the other."""
        names = [name for name in chunks[0] if name != "status_counts"]
        return cls({name: np.concatenate([chunk[name] for chunk in chunks]) for name in names})

    def __len__(self) -> int:
        return len(self.arrays["index"])

    def keep(self, mask: NDArray[np.bool_]) -> "LabelledPrograms":
        """Return the programs in `mask`, shape `(len(self),)`."""
        masks = {
            of: np.repeat(mask, self.arrays[f"n_{of}"])
            for of in ("variables", "constraints", "nonzeros")
        }
        masks["programs"] = mask
        return LabelledPrograms({k: v[masks[kind(k)]] for k, v in self.arrays.items()})

    def program(self, i: int) -> LinearProgram:
        """Return the i-th program."""
        one = np.zeros(len(self), bool)
        one[i] = True
        arrays = self.keep(one).arrays
        return LinearProgram(**{name: arrays[name] for name in PROGRAM_FIELDS})
