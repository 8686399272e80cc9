"""How far a restored image is from the photograph, image by image."""

from torch import Tensor


def squared_error(y: Tensor, target: Tensor) -> Tensor:
    """Return the mean over channels and pixels of the squared difference, shape `(n,)`."""
    return (y - target).square().mean(dim=(1, 2, 3))


def psnr(y: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, shape `(n,)`; the peak is 1.

    The answer is not clamped to [0, 1], as in the paper.
    """
    return -10 * squared_error(y, target).log10()
