"""Rotary embeddings: queries and keys turned by angles that grow with their position."""

import torch
from torch import Tensor


def rotations(positions: Tensor, head_dim: int, base: float, dtype: torch.dtype) -> Tensor:
    """Return the cosines and sines that positions are turned by.

    They are made anew for each solve: as a buffer, a cast of the model to half precision would
    round the angles of far positions away.

    Args:
        positions: Positions from 0, any shape, integers.
        head_dim: Width of a head, even.
        base: Pair i is turned by `position * base^(-2 i / head_dim)`.
        dtype: At least float32, in which the angles are computed too.

    Returns:
        Shape `(*positions, head_dim / 2, 2)`: cosine and sine of each pair.

    References:
        Su et al. (2021), arXiv:2104.09864, equation 34; arXiv:2502.05171, section 3.2.
    """
    pairs = torch.arange(0, head_dim, 2, device=positions.device, dtype=dtype)
    angles = positions[..., None].to(dtype) * base ** (-pairs / head_dim)
    return torch.stack((angles.cos(), angles.sin()), -1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbors (a, b) into (a cos - b sin, b cos + a sin).

    Args:
        x: Queries or keys, shape `(n, length, heads, head_dim)`.
        rotation: What `rotations` gives, shape `(n, length, head_dim / 2, 2)`.

    Returns:
        Of the shape and dtype of `x`; computed in the dtype of the rotation.
    """
    wide = x.to(rotation.dtype)
    first, second = wide[..., ::2], wide[..., 1::2]
    cosine, sine = rotation[:, :, None].unbind(-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return torch.stack(turned, -1).flatten(-2).to(x.dtype)
