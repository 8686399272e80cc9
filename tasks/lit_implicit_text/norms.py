"""The norm of the blocks."""

import torch
from torch import Tensor, nn


class TextNorm(nn.Module):
    """RMSNorm: x / sqrt(mean(x^2) + eps) in at least float32, in the dtype of x times a weight.

    torch's own multiplies by the weight before it rounds to half precision: another function there.

    Args:
        width: Numbers per position.
        eps: Added to the mean square.

    References:
        arXiv:2502.05171, section 3.2.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis, shape `(..., width)`."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return scaled.to(x.dtype) * self.weight
