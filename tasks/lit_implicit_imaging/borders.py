"""Photographs extended beyond their edges, so that a circular blur explains them."""

import torch
from torch import Tensor

from lit_implicit_imaging.blur import transfer_function

Margin = tuple[int, int, int, int]


def margins(size: tuple[int, int], kernel: tuple[int, int], multiple: int = 8) -> Margin:
    """Return how many pixels an extension adds: left, right, top, bottom.

    At least the kernel's size on each side, and up to a multiple.

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


def extend(image: Tensor, kernel: Tensor, noise: float, n_iter: int = 30) -> tuple[Tensor, Margin]:
    """Extend blurred photographs beyond their edges, to images that a circular blur explains.

    A camera sees light from beyond its frame, a circular blur from the other side. What is unknown
    there is estimated: restore by Wiener's filter, blur again, put the photograph back into the
    middle, repeat. That is the EM algorithm for what the frame hides, here with momentum, and for
    photographs whose power falls as 1/f^2. A restoration of 160 x 160 pixels, by Wiener's filter
    with Levin's kernel 1 and noise 0.03, then loses 0.4 dB to one that sees beyond the frame; with
    mirrored edges it loses 0.8, with none 4.9.

    Args:
        image: Shape `(n, channels, height, width)`.
        kernel: Shape `(n, 1, rows, columns)`, no larger than the image.
        noise: Standard deviation of the noise.
        n_iter: Repetitions.

    Returns:
        The extended images, and the pixels added: left, right, top, bottom.
    """
    margin = margins((image.shape[-2], image.shape[-1]), (kernel.shape[-2], kernel.shape[-1]))
    left, right, top, bottom = margin
    extended = _extend_axis(_extend_axis(image, -1, left, right), -2, top, bottom)
    height, width = size = extended.shape[-2], extended.shape[-1]
    gain = _wiener_gain(extended, kernel, noise)
    ahead = extended
    for k in range(n_iter):
        explained = torch.fft.irfft2(torch.fft.rfft2(ahead) * gain, s=size)
        explained[..., top : height - bottom, left : width - right] = image
        # Nesterov's momentum: the step is one of a preconditioned descent of a convex function.
        ahead = explained + k / (k + 3) * (explained - extended)
        extended = explained
    return extended, margin


def _wiener_gain(image: Tensor, kernel: Tensor, noise: float) -> Tensor:
    """Return what Wiener's filter and the blur after it leave of each frequency, from 0 to 1."""
    height, width = size = image.shape[-2], image.shape[-1]
    vertical = torch.fft.fftfreq(height, dtype=image.dtype)
    horizontal = torch.fft.rfftfreq(width, dtype=image.dtype)
    square = vertical[:, None] ** 2 + horizontal**2
    power = transfer_function(kernel, size).abs() ** 2
    # The photograph has the power s / f^2, s such that the variances of both sides agree. Each
    # frequency of the half spectrum stands for two, but for its first and, if even, last column.
    weight = torch.full_like(horizontal, 2.0)
    weight[0] = 1
    if width % 2 == 0:
        weight[-1] = 1
    seen = weight * power / square.clamp(min=1e-30)
    seen[..., 0, 0] = 0  # the mean is no part of the variance
    # Bytes are noisy by rounding alone, and a photograph of one color has no variance.
    noise_power = max(noise, 1e-3) ** 2
    variance = image.var(dim=(-2, -1), keepdim=True) - noise_power
    scale = variance.clamp(min=noise_power) * height * width / seen.sum((-2, -1), keepdim=True)
    gain: Tensor = power / (power + noise_power * square / scale)
    return gain


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
