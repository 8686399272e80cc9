"""The inverse hyperbolic sine by operations that a CPU does several numbers at a time."""

import inspect
from typing import Any

import torch
from torch import Tensor

_MOST = 1e18
"""The square of anything larger may overflow; what lies beyond counts as this."""


def asinh(x: Tensor) -> Tensor:
    """Return `x.asinh()`, up to rounding of the result or of 1, whichever is larger.

    torch's takes one number after the other on a CPU: four times as long for many in float32.
    Derivatives are exact, at 0 too.
    """
    # Compiled code has a fast one, and cannot be made from a function with a forward derivative.
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return x.asinh()
    result: Tensor = _Asinh.apply(x)
    return result


class _Asinh(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs().clamp_(max=_MOST)
        root = (size * size).add_(1).sqrt_()
        return root.add_(size).log_().copysign_(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * _slope(x)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return dx * _slope(x)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return asinh(x), in_dims[0]


def _slope(x: Tensor) -> Tensor:
    return (x * x + 1).rsqrt()


# torch looks the signature up at every call unless it is there already.
_Asinh.forward.__signature__ = inspect.signature(_Asinh.forward)  # type: ignore[attr-defined]
