"""Count what a solve does between the calls of G: state passes, operations, looks of the host.

Nothing here is active while times are taken.

State pass: one reading or writing, by one kernel outside G, of as many numbers as the whole state
has. Each operation that is no view and no mere allocation adds the numbers of its *distinct* tensor
arguments and of its results, in units of the state: `a + b` is 3, `a.mul_(2)` is 2, `a.norm()` is
1, the product of a stack of k states with weights is k + 1. Two arguments that are the same place
in memory, whatever their shapes, count once; axes of stride 0 (broadcasts) count as one number.
Tensors smaller than the state that G was last called with are not counted: they are the small
systems and the numbers per sample. After a solver has narrowed its batch the state is that of the
samples that are left, and its passes are fractions. An index operation counts the part it picks or
puts. What a kernel moves within itself is not seen.

Operation: as above, of any size: what a GPU would launch.

Host look: an operation that makes the host wait for a GPU. Those are `item` and what rests on it
(`float`, `bool`, `if`), `nonzero`, selection by a boolean mask, `equal`, `linalg.solve` (it looks
whether the matrix was singular), and a blocking copy from another device to the CPU. They are
counted on the CPU too, where they wait for nothing.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from solvers_calls import Calls

_ALLOCATE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
_WRITE_ONLY = {"copy_", "fill_", "zero_", "_foreach_copy_", "_foreach_zero_"}
_PICK = {"index", "index_select", "gather", "masked_select"}
_PUT = {"index_put_", "_index_put_impl_", "index_copy_", "scatter_"}
_NO_KERNEL = {"_local_scalar_dense", "_linalg_check_errors"}
_LOOK = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_linalg_check_errors"}


class WorkOutside(TorchDispatchMode):
    """Count state passes, operations and host looks outside G, as the text above defines them.

    Args:
        calls: The calls of G, from `counted`.
        n_state: Numbers in the whole state.
    """

    def __init__(self, calls: Calls, n_state: int) -> None:
        super().__init__()
        self.calls, self.n_state = calls, n_state
        self.n_numbers = self.n_ops = self.n_looks = 0

    @property
    def n_passes(self) -> float:
        """State passes so far."""
        return self.n_numbers / self.n_state

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.calls.inside:
            self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        name = func._schema.name.removeprefix("aten::")
        names = (argument.name for argument in func._schema.arguments)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        self.n_looks += _looks(name, given, result)
        if name in _ALLOCATE or name in _NO_KERNEL:
            return
        reads, writes = _touched(func, name, given, result)
        if not writes and tensors_in(result):
            return  # a view
        self.n_ops += 1
        least = self.calls.n_state or self.n_state
        for tensors in (reads, writes):
            distinct = {_place(t): _extent(t) for t in tensors}
            self.n_numbers += sum(n for n in distinct.values() if n >= least)


def _touched(
    func: Any, name: str, given: dict[str, Any], result: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors that an operation reads and those that it writes; a view writes none."""
    reads: list[Tensor] = []
    writes: list[Tensor] = []
    for argument in func._schema.arguments:
        tensors = tensors_in(given.get(argument.name))
        if argument.alias_info is None or not argument.alias_info.is_write:
            reads += tensors
        elif name not in _PUT:
            writes += tensors
            if name not in _WRITE_ONLY and not argument.is_out:
                reads += tensors
    if name in _PUT:
        return reads, reads[-1:]  # as many numbers as the values have
    if name.endswith("_like") or name.startswith("new_"):
        reads = []  # a shape is all that they take
    old = {storage_of(t) for t in tensors_in(given)}
    fresh = [t for t in tensors_in(result) if storage_of(t) not in old]
    # Of what it picks from, an operation reads as many numbers as it picks.
    return fresh if name in _PICK else reads, writes + fresh


def _looks(name: str, given: dict[str, Any], result: Any) -> int:
    if name in _LOOK:
        return 1
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return int(any(t.dtype == torch.bool for t in tensors_in(given["indices"])))
    if name in ("_to_copy", "copy_"):
        source = given.get("src", given["self"])
        to_host = isinstance(result, Tensor) and result.device.type == "cpu"
        return int(to_host and source.device.type != "cpu" and not given.get("non_blocking"))
    return 0


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the dense tensors in the arguments or the result of an operation.

    Sparse ones have no memory of their own here: those of their parts are seen where they are made.
    """
    if isinstance(tree, Tensor):
        return [tree] if tree.layout == torch.strided else []
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [t for part in tree for t in tensors_in(part)]


def storage_of(t: Tensor) -> int:
    """Return what tells the memory of a tensor from that of others, as long as it lives."""
    return t.untyped_storage()._cdata


def _extent(t: Tensor) -> int:
    """Return how many numbers a tensor has, broadcast axes taken once."""
    n = 1
    for size, stride in zip(t.shape, t.stride(), strict=True):
        n *= size if stride or size == 0 else 1
    return n


def _place(t: Tensor) -> tuple[int, int, int]:
    return storage_of(t), t.storage_offset(), _extent(t)
