"""Attention with learned biases of queries and keys, differentiable in every mode."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from lit_implicit_text.rotary import rotate
from lit_implicit_text.sizes import TextSizes


@dataclass(frozen=True, eq=False)
class Sight:
    """Where positions stand and what they see, the same for all layers.

    Args:
        rotation: Cosines and sines of the positions, shape `(n, length, 2, head_dim)`.
        visible: Keys that each position sees, boolean, broadcast against
            `(n, heads, length, keys)`; itself at least.
    """

    rotation: Tensor
    visible: Tensor

    def select(self, keep: Tensor) -> "Sight":
        """Return those of the samples in `keep` (`(n,)`, boolean)."""
        shared = self.visible.ndim < 4
        return Sight(self.rotation[keep], self.visible if shared else self.visible[keep])


class Memory(Protocol):
    """Keys and values of earlier positions: what generation keeps of a layer."""

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the present positions, and return all that `Sight.visible` speaks of.

        Args:
            keys: Shape `(n, heads, length, head_dim)`.
            values: The same.
        """


class TextAttention(nn.Module):
    """Attention of positions to those they see; queries and keys have biases, values none.

    Its parameters are named as in the public checkpoint.

    Args:
        sizes: Width and heads.

    References:
        arXiv:2502.05171, section 3.2.
    """

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.qk_bias = nn.Parameter(torch.zeros(2, 1, sizes.heads, sizes.head_dim))
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, sight: Sight, memory: Memory | None = None) -> Tensor:
        """Return what each position gathers, shape `(n, length, width)`.

        Args:
            x: Shape `(n, length, width)`.
            sight: Where the positions stand and what they see.
            memory: Keys and values of earlier positions; None means that `x` holds them all.
        """
        qkv = self.Wqkv(x).view(*x.shape[:2], 3 * self.heads, -1)
        qk, v = qkv.split((2 * self.heads, self.heads), 2)
        qk = rotate(qk + self.qk_bias.flatten(0, 2), sight.rotation)
        q, k = qk.transpose(1, 2).chunk(2, 1)
        v = v.transpose(1, 2)
        if memory is not None:
            k, v = memory.extend(k, v)
        gathered: Tensor = self.proj(attend(q, k, v, sight.visible).transpose(1, 2).flatten(2))
        return gathered


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(head_dim)) v over visible keys, softmax in at least float32.

    Probes differentiate G forwards and twice, which torch's fused kernels refuse. So these serve
    where no derivative can be asked, and only on a GPU: there they keep long texts out of memory.
    Compiled code, which cannot ask for derivatives, has the products too.

    Args:
        q: Queries, shape `(n, heads, length, head_dim)`.
        k: Keys, shape `(n, heads, keys, head_dim)`.
        v: Values, of the shape of the keys.
        visible: Keys that each query sees, boolean, broadcast against `(n, heads, length, keys)`.
    """
    plain = torch.compiler.is_compiling() or not q.is_cuda
    if not plain and not _is_differentiated(q, k, v):
        fused: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return fused
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    scores = torch.where(visible, scores, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return weights.to(v.dtype) @ v


def _is_differentiated(*tensors: Tensor) -> bool:
    """Tell whether tensors carry derivatives, or may be asked for some later."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return True
    carried = (forward_ad.unpack_dual(tensor) for tensor in tensors)  # type: ignore[no-untyped-call]
    return any(dual.tangent is not None for dual in carried)
