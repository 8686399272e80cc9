"""Photographs extended beyond their edges, so that a circular blur explains them."""

import torch
from torch import Tensor

Margin = tuple[int, int, int, int]


def margins(size: tuple[int, int], kernel: tuple[int, int], multiple: int = 8) -> Margin:
    """Return how many pixels an extension adds: left, right, top, bottom.

    At least the kernel's size in all on each side, and up to a multiple.

    Args:
        size: Height and width of the photograph.
        kernel: Rows and columns of the kernel.
        multiple: Of which the extended height and width are one.
    """
    found: list[int] = []
    for length, reach in zip(reversed(size), reversed(kernel), strict=True):
        both = 2 * reach + -(length + 2 * reach) % multiple
        found += [both // 2, both - both // 2]
    left, right, top, bottom = found
    return left, right, top, bottom


def extend(image: Tensor, kernel: Tensor, noise: float) -> tuple[Tensor, Margin]:
    """Extend blurred photographs beyond their edges to periodic ones.

    Args:
        image: Shape `(n, channels, height, width)`.
        kernel: Shape `(n, 1, rows, columns)`, no larger than the image.
        noise: Standard deviation of the noise.

    Returns:
        The extended images, and the pixels added: left, right, top, bottom.
    """
    size = image.shape[-2], image.shape[-1]
    margin = margins(size, (kernel.shape[-2], kernel.shape[-1]))
    left, right, top, bottom = margin
    image = _extend_axis(image, -1, left, right)
    return _extend_axis(image, -2, top, bottom), margin


def _extend_axis(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Go over smoothly from the mirrored end of an axis to its mirrored beginning."""
    length, band = image.shape[axis], before + after
    place = torch.arange(band)
    behind = image.index_select(axis, length - 1 - place % length)
    ahead = image.index_select(axis, (band - 1 - place) % length)
    weight = (place.to(image.dtype) + 0.5) / band
    weight = weight.reshape(-1, *(1,) * (-1 - axis))
    between = behind * (1 - weight) + ahead * weight
    front, back = between.narrow(axis, after, before), between.narrow(axis, 0, after)
    return torch.cat([front, image, back], dim=axis)
