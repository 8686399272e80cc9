"""The tensors inside a context, an input, an answer or a batch, whatever holds them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit.tree import map_tensors


def tensors_in(tree: Any) -> dict[str, Tensor]:
    """Return all tensors of a tree by their place in it, as `['x'][0]` or `.target`.

    Beside tuples, lists, dicts and dataclasses it looks into the attributes of any object, since
    batches are of any class.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def walk(node: Any, place: str) -> None:
        if isinstance(node, Tensor):
            found[place] = node
            return
        if isinstance(node, (str, bytes, type)) or id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, Mapping):
            for key, value in node.items():
                walk(value, f"{place}[{key!r}]")
        elif isinstance(node, Sequence):
            for number, value in enumerate(node):
                walk(value, f"{place}[{number}]")
        elif dataclasses.is_dataclass(node):
            for field in dataclasses.fields(node):
                walk(getattr(node, field.name), f"{place}.{field.name}")
        elif hasattr(node, "__dict__"):
            for key, value in vars(node).items():
                walk(value, f"{place}.{key}")

    walk(tree, "")
    return found


def floats_in(tree: Any) -> dict[str, Tensor]:
    """Return the floating-point tensors of a tree by their place."""
    return {place: t for place, t in tensors_in(tree).items() if t.is_floating_point()}


def replace_floats(tree: Any, values: Sequence[Tensor]) -> Any:
    """Return a copy of a tree in which its floating-point tensors are replaced, in their order.

    It sees what `map_tensors` sees: tuples, lists, dicts and dataclasses.
    """
    rest = iter(values)
    return map_tensors(lambda t: next(rest) if t.is_floating_point() else t, tree)


def mapped_floats(tree: Any) -> list[Tensor]:
    """Return the tensors that `replace_floats` replaces."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            found.append(tensor)
        return tensor

    map_tensors(note, tree)
    return found


def snapshot(tree: Any) -> dict[str, Tensor]:
    """Return copies of all tensors of a tree, to compare it with later."""
    return {place: t.detach().clone() for place, t in tensors_in(tree).items()}


def first_change(before: Mapping[str, Tensor], tree: Any) -> str | None:
    """Return the place of the first tensor that differs from a snapshot in any bit, or None."""
    after = tensors_in(tree)
    for place, old in before.items():
        if place not in after or not same(old, after[place]):
            return place or "itself"
    return next((place for place in after if place not in before), None)


def same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are equal to the bit; NaN equals NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_sparse or a.layout != torch.strided:
        a, b = a.to_dense(), b.to_dense()
    return bool(torch.equal(a, b) or torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))


def gap(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the larger of their size and 1."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0:
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    both = a.isnan() & b.isnan()
    difference = torch.where(both | (a == b), 0.0, (a - b).abs())
    size = torch.where(b.isfinite(), b.abs(), 0.0).max().clamp(min=1.0)
    return float((difference / size).nan_to_num(torch.inf).max())
