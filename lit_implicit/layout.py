"""The per-sample algebra of a batched state: all that solvers know about the tensor they iterate.

A state is one tensor. `Dense` states are `(n, ...)`, one row a sample; `Ragged` states are
`(nodes, ...)` with the sample of each node in an index, as for graphs of different sizes.
A mask `keep` is a boolean tensor of shape `(n,)`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

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


def _rows(z: Tensor) -> Tensor:
    """Return a state with one axis for all that a sample holds: `(n, ...)` to `(n, d)`."""
    if z.ndim == 2:
        return z
    return z.flatten(1) if z.ndim > 2 else z[:, None]


def _is_long(rows: Tensor) -> bool:
    """Tell whether products of small matrices, a row each, are as accurate as sums, and faster.

    Measured on a CPU: below some hundred entries a row, each small product costs more than it
    saves. Autocast, and reduced precision of products (TF32) where a user has allowed it to G,
    would take away what the sums are for.
    """
    if torch.compiler.is_compiling():
        return False  # sums are fused there, and what follows cannot be traced
    if rows.shape[1] < 128 or torch.is_autocast_enabled(rows.device.type):
        return False
    if rows.dtype != torch.float32:
        return True
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set in the words of a newer interface, which this one cannot tell
        return False


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

    def mix(
        self, weights: Float[Tensor, "n k"], states: Real, base: Real, sign: Literal[1, -1] = 1
    ) -> Real:
        """Return `base + sign * sum_k weights[i, k] * states[k]` for the state of each sample i.

        Args:
            weights: The weights of each sample, shape `(n, k)`.
            states: States, stacked, shape `(k, *state)`.
            base: A state.
            sign: 1 or -1.
        """
        weights = self.spread(weights.T, states[0]).to(states.dtype)
        for weight, state in zip(weights, states, strict=True):
            base = torch.addcmul(base, weight, state, value=sign)
        return base

    def advance(self, z: Real, direction: Real, share: float) -> Real:
        """Return `z + share * direction`."""
        return z.add(direction, alpha=share)

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

    def norm(self, z: Real) -> PerSample:
        norm: Tensor = torch.linalg.vector_norm(_rows(_accurate(z)), dim=1)
        return norm

    def dot(self, a: Real, b: Real) -> PerSample:
        lead, rows = a.shape[: a.ndim - b.ndim], _rows(_accurate(b))
        stack = _accurate(a)
        if stack.ndim != 3 or rows.ndim != b.ndim:
            stack = stack.reshape(math.prod(lead), *rows.shape)
        if _is_long(rows):
            products = torch.bmm(rows[:, None], stack.permute(1, 2, 0))[:, 0].T
        else:
            products = (stack * rows).sum(-1)
        return products if len(lead) == 1 else products.reshape(*lead, self.n)

    def mix(
        self, weights: Float[Tensor, "n k"], states: Real, base: Real, sign: Literal[1, -1] = 1
    ) -> Real:
        rows = _rows(base)
        if not _is_long(rows):
            return super().mix(weights, states, base, sign)
        stack = states if states.ndim == 3 else states.flatten(2)
        weights = weights.to(states.dtype).contiguous()[:, None]
        mixed = torch.baddbmm(rows[:, None], weights, stack.transpose(0, 1), alpha=sign)[:, 0]
        return mixed if base.ndim == 2 else mixed.reshape(base.shape)

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
