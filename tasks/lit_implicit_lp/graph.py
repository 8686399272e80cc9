"""A labelled linear program as a bipartite graph, and batches of many of different sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from lit_implicit_lp.labels import LabelledPrograms, kind


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
        delta_<mode>, target_<mode>, valid_<mode>: Per mode that was labelled: a perturbation, the
            solution of the perturbed program, whether there is one.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "edge_index":
            return torch.tensor([[self.b.shape[0]], [self.num_nodes]])
        if key == "constraint_batch":
            return 1
        return 0 if key == "index" else super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return -1 if key == "edge_index" else 0


class LPGraphs(torch.utils.data.Dataset[Any]):
    """Labelled programs in memory, which hands out whole batches.

    PyG's own collation joins graphs one attribute and one graph at a time, which takes longer than
    a step of training on programs this small; here a batch is one gather per attribute. The result
    is the same `Batch`.

    Args:
        programs: What the cache holds.
        dtype: Of all real features, labels and perturbations.
    """

    def __init__(self, programs: LabelledPrograms, dtype: torch.dtype) -> None:
        arrays = programs.arrays
        self._sizes = {
            of: torch.from_numpy(arrays[f"n_{of}"])
            for of in ("variables", "constraints", "nonzeros")
        }
        self._starts = {of: sizes.cumsum(0) - sizes for of, sizes in self._sizes.items()}
        self._fields = {
            name: _tensor(array, dtype)
            for name, array in arrays.items()
            if name not in ("rows", "columns") and not name.startswith("n_")
        }
        self._edges = torch.from_numpy(np.stack([arrays["rows"], arrays["columns"]]))

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
        programs = torch.as_tensor(indices)
        places = {"programs": programs}
        owners: dict[str, Tensor] = {}
        ends: dict[str, Tensor] = {}
        for of, all_sizes in self._sizes.items():
            sizes = all_sizes[programs]
            ends[of] = sizes.cumsum(0)
            owners[of] = torch.arange(len(programs)).repeat_interleave(sizes)
            shift = self._starts[of][programs] - (ends[of] - sizes)
            places[of] = torch.arange(len(owners[of])) + shift[owners[of]]
        first = {of: ends[of] - self._sizes[of][programs] for of in ("constraints", "variables")}
        shifts = torch.stack([first["constraints"], first["variables"]])
        fields = {name: field[places[kind(name)]] for name, field in self._fields.items()}
        fields["edge_index"] = self._edges[:, places["nonzeros"]] + shifts[:, owners["nonzeros"]]
        fields["constraint_batch"] = owners["constraints"]
        return _as_batch(fields, owners["variables"], ends, first)


def _as_batch(
    fields: dict[str, Tensor],
    owner: Tensor,
    ends: dict[str, Tensor],
    first: dict[str, Tensor],
) -> Any:
    """Make a `Batch` with the bookkeeping that PyG needs to take it apart again."""
    n = len(ends["variables"])
    slices = {of: torch.cat([end.new_zeros(1), end]) for of, end in ends.items()}
    slices["programs"] = torch.arange(n + 1)
    batch = Batch(_base_cls=LPGraph)
    sliced, increments = {}, {}
    for name, field in fields.items():
        batch[name] = field
        of = {"edge_index": "nonzeros", "constraint_batch": "constraints"}.get(name, kind(name))
        sliced[name], increments[name] = slices[of], torch.zeros(n, dtype=torch.long)
    increments["constraint_batch"] = torch.arange(n)
    increments["edge_index"] = torch.stack([first["constraints"], first["variables"]]).T[:, :, None]
    batch.num_nodes = len(owner)
    batch._store._num_nodes = slices["variables"].diff().tolist()
    batch._num_graphs = n
    batch._slice_dict, batch._inc_dict = sliced, increments
    batch.batch, batch.ptr = owner, slices["variables"]
    return batch


def _tensor(array: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
