"""Linear programs of MPS files as batches, without labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lit_implicit.files import file_name
from lit_implicit_lp.graph import LPGraphs
from lit_implicit_lp.label_arrays import LabelledPrograms
from lit_implicit_lp.mps import MPSProgram, find_files, read_mps
from lit_implicit_lp.problem import LinearProgram


class MPSGraphs(Dataset[Any]):
    """Programs of MPS files in memory, which hands out whole batches.

    A batch is one of `LPGraph`s without labels: solutions and objective are NaN. It has one more
    attribute, `files`, the `MPSProgram` of each of its programs.

    Args:
        files: The programs, at least one. Those of the same name get their number behind it.
        dtype: Of all real features.
    """

    def __init__(self, files: Sequence[MPSProgram], dtype: torch.dtype) -> None:
        # By the names that their answers will have as files, which may cut or change them.
        counts = Counter(file_name(file.name) for file in files)
        taken = {name for name, times in counts.items() if times == 1}
        self.files = []
        for file in files:
            name, numbers = file.name, count()
            while counts[file_name(file.name)] > 1 and (
                name == file.name or file_name(name) in taken
            ):
                name = f"{file.name[:80]}_{next(numbers)}"
            taken.add(file_name(name))
            self.files.append(replace(file, name=name))
        programs = [unlabelled(file.program, i) for i, file in enumerate(files)]
        self._graphs = LPGraphs(LabelledPrograms.join(programs), dtype, labelled=False)

    @classmethod
    def read(cls, given: Sequence[str], dtype: torch.dtype) -> "MPSGraphs":
        """Read all files that paths, folders and patterns name, each once.

        Raises:
            DataError: If there is none, or one holds no linear program.
        """
        paths = {path.resolve(): path for text in given for path in find_files(text)}
        return cls([read_mps(path) for path in paths.values()], dtype)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        return self.__getitems__([i])

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return one `Batch` of the programs: what torch's loader calls where it finds it."""
        batch = self._graphs.batch(indices)
        batch.files = [self.files[i] for i in indices]
        return batch


def unlabelled(program: LinearProgram, index: int) -> dict[str, Any]:
    """Return the flat arrays of one program whose solution is not known.

    Args:
        program: The program.
        index: Its number.
    """
    arrays = {name: getattr(program, name) for name in LinearProgram.__dataclass_fields__}
    one = {
        "index": index,
        "objective": np.nan,
        "degenerate": False,
        "n_variables": program.n_variables,
        "n_constraints": program.n_constraints,
        "n_nonzeros": len(program.coefficients),
    }
    target = np.full(program.n_variables, np.nan)
    return {**arrays, "target": target, **{name: np.array([x]) for name, x in one.items()}}
