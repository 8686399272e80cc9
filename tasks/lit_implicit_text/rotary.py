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
        Shape `(*positions, 2, head_dim)`: for each number of a head the cosine of its pair's angle,
        and the sine, negative for the first of a pair.

    References:
        Su et al. (2021), arXiv:2104.09864, equation 34; arXiv:2502.05171, section 3.2.
    """
    pairs = torch.arange(0, head_dim, 2, device=positions.device, dtype=dtype)
    angles = positions[..., None].to(dtype) / base ** (pairs / head_dim)
    cosine, sine = angles.cos(), angles.sin()
    entries = (torch.stack((cosine, cosine), -1), torch.stack((-sine, sine), -1))
    return torch.stack([entry.flatten(-2) for entry in entries], -2)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbors (a, b) into (a cos - b sin, b cos + a sin).

    Args:
        x: Queries or keys, shape `(n, length, heads, head_dim)`.
        rotation: What `rotations` gives, shape `(n, length, 2, head_dim)`.

    Returns:
        Of the shape and dtype of `x`; computed in the dtype of the rotation.
    """
    cosine, sine = rotation[:, :, :, None].unbind(2)
    wide = x.to(rotation.dtype)
    swapped = wide.reshape(*x.shape[:-1], -1, 2).flip(-1).reshape(x.shape)
    return torch.addcmul(wide * cosine, swapped, sine).to(x.dtype)
