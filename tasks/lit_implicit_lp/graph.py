"""A labelled linear program as a bipartite graph, and batches of many of different sizes."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_implicit_lp.check import check_labelled
from lit_implicit_lp.label_arrays import LabelledPrograms, kind

with warnings.catch_warnings():
    # PyG 2.8 compiles with torch.jit, which torch 2.15 deprecates at every import.
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.data import Batch, Data

_NODES = ("variables", "constraints", "nonzeros")


class LPGraph(Data):
    """One linear program: a node per variable, a node per constraint, an edge per nonzero of A.

    `num_nodes` counts variables, so that `batch.batch` is the program of each variable;
    `constraint_batch` is that of each constraint. Physical units: none.

    Attributes:
        c, lower, upper, target: Per variable: cost, bounds, solution.
        b, is_equality: Per constraint: right-hand side, and 1 where it reads `=`, 0 for `<=`.
        edge_index: Constraint and variable of each nonzero, shape `(2, n_nonzeros)`.
        coefficients: The nonzeros.
        objective, degenerate, index: Per program: least cost, whether there is more than one
            solution, number in its stream.
        delta_<mode>, shift_<mode>, valid_<mode>: Per mode that was labelled: a perturbation, the
            change that it makes to the solution, whether there is still a solution. Both are small
            differences, which keep their digits only if they are stored as such.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "edge_index":
            return torch.tensor([[self.b.shape[0]], [self.num_nodes]])
        if key == "constraint_batch":
            return 1
        return 0 if key == "index" else super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return -1 if key == "edge_index" else 0


class LPGraphs(Dataset[Any]):
    """Labelled programs in memory, which hands out whole batches.

    PyG's own collation joins graphs one attribute and one graph at a time, 3 to 5 ms for 64 small
    programs; here a batch is one gather per attribute. The result is the same `Batch`. The gathers
    are numpy's: torch's wake a pool of threads, which waits where others use the cores.

    Args:
        programs: What the cache holds.
        dtype: Of all real features, labels and perturbations.
        labelled: Whether there are labels, to be checked; else they are NaN.

    Raises:
        DataError: If a program or its label makes no sense; with the program's index.
    """

    def __init__(
        self, programs: LabelledPrograms, dtype: torch.dtype, labelled: bool = True
    ) -> None:
        if labelled:
            check_labelled(programs)
        real = torch.empty(0, dtype=dtype).numpy().dtype
        arrays = dict(programs.arrays)
        for name in [name for name in arrays if name.startswith("target_")]:
            arrays[name.replace("target", "shift")] = arrays.pop(name) - arrays["target"]
        self._fields = {
            name: array.astype(real) if array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }
        self._sizes = {of: self._fields.pop(f"n_{of}") for of in _NODES}
        self._starts = {of: sizes.cumsum() - sizes for of, sizes in self._sizes.items()}

    def __len__(self) -> int:
        return len(self._fields["index"])

    def __getitem__(self, i: int) -> LPGraph:
        graph: LPGraph = self.batch([range(len(self))[i]]).get_example(0)
        return graph

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return one `Batch` of the programs: what torch's loader calls where it finds it."""
        return self.batch(indices)

    def batch(self, indices: Sequence[int]) -> Any:
        """Return a PyG `Batch` of `LPGraph`s, in the given order."""
        programs = np.asarray(indices, np.int64)
        n = len(programs)
        places, owners, bounds = {"programs": programs}, {}, {"programs": np.arange(n + 1)}
        for of in _NODES:
            sizes = self._sizes[of][programs]
            bounds[of] = np.concatenate([[0], sizes.cumsum()])
            owners[of] = np.repeat(np.arange(n), sizes)
            shift = self._starts[of][programs] - bounds[of][:-1]
            places[of] = np.arange(len(owners[of])) + shift[owners[of]]
        fields = {
            name: torch.from_numpy(array[places[kind(name)]])
            for name, array in self._fields.items()
        }
        first = np.stack([bounds["constraints"][:-1], bounds["variables"][:-1]])
        edges = torch.stack([fields.pop("rows"), fields.pop("columns")])
        fields["edge_index"] = edges + torch.from_numpy(first[:, owners["nonzeros"]])
        fields["constraint_batch"] = torch.from_numpy(owners["constraints"])
        fields["batch"] = torch.from_numpy(owners["variables"])
        return _as_batch(fields, {of: torch.from_numpy(bound) for of, bound in bounds.items()})


def select_programs(batch: Any, keep: Tensor) -> Any:
    """Return the batch of some of its programs, in the same order and with all their fields.

    Args:
        batch: A batch of `LPGraph`s.
        keep: Which programs, shape `(n,)`, boolean.
    """
    constraints, variables = keep[batch.constraint_batch], keep[batch.batch]
    masks = {"programs": keep, "variables": variables, "constraints": constraints}
    masks["nonzeros"] = variables[batch.edge_index[1]]
    fields = {
        name: batch[name][masks[_kind(name)]]
        for name in batch.keys()  # noqa: SIM118 - a batch iterates over its values
        if name not in ("edge_index", "num_nodes", "ptr")
    }
    number = [mask.cumsum(0) - 1 for mask in (constraints, variables)]
    edges = batch.edge_index[:, masks["nonzeros"]]
    fields["edge_index"] = torch.stack([number[0][edges[0]], number[1][edges[1]]])
    for name in ("constraint_batch", "batch"):
        fields[name] = (keep.cumsum(0) - 1)[fields[name]]
    # PyG leaves its bookkeeping on the CPU, whatever the device of the batch.
    names = {"programs": "index", "variables": "c", "constraints": "b", "nonzeros": "coefficients"}
    kept = keep.cpu()
    sizes = {of: batch._slice_dict[name].diff()[kept] for of, name in names.items()}
    bounds = {of: torch.nn.functional.pad(n.cumsum(0), (1, 0)) for of, n in sizes.items()}
    return _as_batch(fields, bounds)


def _kind(field: str) -> str:
    own = {"edge_index": "nonzeros", "constraint_batch": "constraints", "batch": "variables"}
    return own.get(field) or kind(field)


def _as_batch(fields: dict[str, Tensor], bounds: dict[str, Tensor]) -> Any:
    """Make a `Batch` with the bookkeeping that PyG needs to take it apart again.

    Args:
        fields: The attributes of the batch.
        bounds: Where the entries of each program begin and, last, their number, on the CPU; for
            programs, variables, constraints and nonzeros.
    """
    n = len(bounds["programs"]) - 1
    batch = Batch(_base_cls=LPGraph)
    batch_index = fields.pop("batch")
    for name, field in fields.items():
        batch[name] = field
    batch.num_nodes = len(batch_index)
    batch._store._num_nodes = bounds["variables"].diff().tolist()
    batch._num_graphs = n
    batch._slice_dict = {name: bounds[_kind(name)] for name in fields}
    batch._inc_dict = dict.fromkeys(fields, torch.zeros(n, dtype=torch.long))
    batch._inc_dict["constraint_batch"] = torch.arange(n)
    first = torch.stack([bounds["constraints"][:-1], bounds["variables"][:-1]], dim=1)
    batch._inc_dict["edge_index"] = first[:, :, None]
    batch.batch, batch.ptr = batch_index, bounds["variables"].to(batch_index.device)
    return batch
