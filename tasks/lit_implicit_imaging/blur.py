"""Circular blur, one kernel a photograph: a product with the kernel's transfer function."""

import torch
from torch import Tensor


def transfer_function(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the half spectrum of the kernels, centered on their middle pixel.

    Args:
        kernel: Blur kernels, shape `(n, 1, rows, columns)`.
        size: Height and width of the images.

    Returns:
        Complex, shape `(n, 1, height, width // 2 + 1)`; the same as in deepinv's `BlurFFT`.
    """
    # Slow to import; whoever blurs has a denoiser of deepinv's, too.
    from deepinv.physics.functional import filter_fft

    found: Tensor = filter_fft(kernel, img_size=(1, *size), dims=(-2, -1), real_fft=True)
    return found


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Return the circular convolution A y of images with their kernels.

    Args:
        image: Shape `(n, channels, height, width)`.
        kernel: Shape `(n, 1, rows, columns)`.
    """
    size = image.shape[-2], image.shape[-1]
    spectrum = torch.fft.rfft2(image) * transfer_function(kernel, size)
    blurred: Tensor = torch.fft.irfft2(spectrum, s=size)
    return blurred
