"""The per-sample algebra of a batched state: all that solvers know about the tensor they iterate.

A state is one tensor. `Dense` states are `(n, ...)`, one row a sample; `Ragged` states are
`(nodes, ...)` with the sample of each node in an index, as for graphs of different sizes.
A mask `keep` is a boolean tensor of shape `(n,)`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lit_implicit.tree import map_tensors

Real = Float[Tensor, "..."]
PerSample = Float[Tensor, "..."]
Mask = Bool[Tensor, " n"]


def _accurate(z: Tensor) -> Tensor:
    """Half precision cannot hold a sum of squares: widen it, and leave the rest as it is."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def widest_dtype(device: torch.device) -> torch.dtype:
    """Return the most accurate real dtype of a device: float64, but on Apple's MPS float32."""
    return torch.float32 if device.type == "mps" else torch.float64


class AbstractLayout(ABC):
    """How the samples of a batch lie in a state tensor.

    Sums over a state (`dot`, `norm`) are taken in at least float32. Their first argument may carry
    leading axes (a history of states), which the result keeps.
    """

    n: int

    @abstractmethod
    def dot(self, a: Real, b: Real) -> PerSample:
        """Return the inner products of `a` (`(..., *state)`) and `b` (`state`): `(..., n)`."""

    @abstractmethod
    def spread(self, values: Tensor, z: Real) -> Tensor:
        """Shape per-sample `values` (`(..., n)`) so that they broadcast against the state `z`."""

    @abstractmethod
    def select(self, z: Real, keep: Mask) -> Real:
        """Return the part of the state that belongs to the samples in `keep`."""

    @abstractmethod
    def put(self, z: Real, keep: Mask, part: Real) -> Real:
        """Return a copy of `z` in which the samples in `keep` are replaced by `part`."""

    @abstractmethod
    def sub(self, keep: Mask) -> "AbstractLayout":
        """Return the layout of `select(z, keep)`."""

    def norm(self, z: Real) -> PerSample:
        """Return the 2-norm of each sample's state, `(n,)`: not finite where an entry is not."""
        return self.dot(z, z).sqrt()

    def mix(self, weights: Float[Tensor, "k n"], states: Real) -> Real:
        """Return `sum_k weights[k, i] * states[k]` for the state of each sample i."""
        weights = self.spread(weights, states[0]).to(states.dtype)
        return (weights * states).sum(0)

    def where(self, mask: Mask, a: Real, b: Real) -> Real:
        """Return the state that is `a` for the samples in `mask` and `b` for the others."""
        return torch.where(self.spread(mask, a), a, b)


@dataclass(frozen=True)
class Dense(AbstractLayout):
    """States of shape `(n, ...)`: one row per sample.

    Args:
        n: Number of samples in the batch.
    """

    n: int

    def dot(self, a: Real, b: Real) -> PerSample:
        rows = _accurate(b).flatten(1) if b.ndim > 1 else _accurate(b)[:, None]
        lead = a.shape[: a.ndim - b.ndim]
        # Autocast would take the sum back to half precision.
        with torch.autocast(a.device.type, enabled=False):
            return torch.einsum("...nd,nd->...n", _accurate(a).reshape(*lead, *rows.shape), rows)

    def mix(self, weights: Float[Tensor, "k n"], states: Real) -> Real:
        # A product of small matrices, without a second stack of states for the terms.
        with torch.autocast(states.device.type, enabled=False):
            return torch.einsum("kn,kn...->n...", weights.to(states.dtype), states)

    def spread(self, values: Tensor, z: Real) -> Tensor:
        return values.reshape(*values.shape, *(1,) * (z.ndim - 1))

    def select(self, z: Real, keep: Mask) -> Real:
        return z[keep]

    def put(self, z: Real, keep: Mask, part: Real) -> Real:
        return z.index_put((keep,), part)

    def sub(self, keep: Mask) -> "Dense":
        return Dense(int(keep.sum()))


@dataclass(frozen=True, eq=False)
class Ragged(AbstractLayout):
    """States of shape `(nodes, ...)`, the samples of different sizes one after the other.

    Args:
        index: The sample of each node, shape `(nodes,)`, with values in `0..n-1`.
        n: Number of samples; more than `index.max() + 1` where the last ones have no node.
    """

    index: Int[Tensor, " nodes"]
    n: int

    def dot(self, a: Real, b: Real) -> PerSample:
        products = _accurate(a) * _accurate(b)
        lead = a.ndim - b.ndim
        by_node = products.flatten(lead + 1).sum(-1) if b.ndim > 1 else products
        zeros = by_node.new_zeros(*by_node.shape[:-1], self.n)
        return zeros.index_add(-1, self.index, by_node)

    def spread(self, values: Tensor, z: Real) -> Tensor:
        by_node = values[..., self.index]
        return by_node.reshape(*by_node.shape, *(1,) * (z.ndim - 1))

    def select(self, z: Real, keep: Mask) -> Real:
        return z[keep[self.index]]

    def put(self, z: Real, keep: Mask, part: Real) -> Real:
        return z.index_put((keep[self.index],), part)

    def sub(self, keep: Mask) -> "Ragged":
        number = keep.cumsum(0) - 1
        return Ragged(number[self.index[keep[self.index]]], int(keep.sum()))


def select_samples(c: Any, keep: Mask) -> Any:
    """Keep some samples of a (nested) tuple, list, dict or dataclass of per-sample tensors.

    Args:
        c: Tensors whose first axis is the sample, in any nesting; None stays None.
        keep: The samples to keep, shape `(n,)`.

    Raises:
        TypeError: If something else is found: what samples share belongs in a buffer.
    """

    def refuse(found: Any) -> Any:
        kind, shape = type(found).__name__, ""
        if isinstance(found, Tensor):
            shape = f"one of shape {tuple(found.shape)}"
        raise TypeError(
            f"Expected tensors of {len(keep)} samples only, got {shape or kind}. Make what all "
            "samples share a buffer of the operator, or define `select` in the operator (for a "
            "batch, in the objective)."
        )

    def pick(tensor: Tensor) -> Tensor:
        return tensor[keep] if tensor.ndim and len(tensor) == len(keep) else refuse(tensor)

    return map_tensors(pick, c, other=refuse)
