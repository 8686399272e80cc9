"""The learned part of G: deepinv's DRUNet, for images of any size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_MULTIPLE = 8
"""DRUNet halves an image three times."""


class ImagingDRUNet(nn.Module):
    """A denoiser H(image, sigma): deepinv's DRUNet, a U-Net of four scales without biases.

    Images are color, of any size. One whose sides are no multiples of 8 is continued periodically,
    as the blur continues it, and cut again. (deepinv's own ways differ between training and
    evaluation, and one of them cuts the image in parts: two maps, two fixed points.)

    Args:
        channels: Channels at the four scales. The paper has `[64, 128, 256, 512]`.
        n_blocks: Residual blocks at each scale, down and up. The paper has 4: 32,640,960 weights.
        residual: Add the network's output to the image, so that untrained weights, which are small,
            leave the image nearly as it is. False, the paper's, returns the output itself.

    Raises:
        ValueError: If there are not four positive numbers of channels, or `n_blocks` is below 1.

    References:
        Zhang et al. (2021), Plug-and-play image restoration with deep denoiser prior,
        arXiv:2008.13751.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 64),
        n_blocks: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != 4 or min(channels) < 1:
            raise ValueError(
                "`ImagingDRUNet.channels` must be four positive numbers, one for each scale, got "
                f"{list(channels)}."
            )
        if n_blocks < 1:
            raise ValueError(f"`ImagingDRUNet.n_blocks` must be at least 1, got {n_blocks}.")
        from deepinv.models import DRUNet  # slow to import

        self.residual = residual
        self.network = DRUNet(
            in_channels=3,
            out_channels=3,
            nc=tuple(channels),
            nb=n_blocks,
            pretrained=None,  # its default downloads
        )

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Return the image without its noise.

        Args:
            image: Shape `(n, 3, height, width)`.
            sigma: Standard deviation of the noise, shape `(n,)` or `()`.
        """
        height, width = image.shape[-2:]
        whole = _continued(_continued(image, -2), -1)
        level = sigma.to(whole).reshape(-1, 1, 1, 1).expand(len(whole), 1, *whole.shape[-2:])
        # Its own `forward` would choose among ways to pad; here nothing is left to pad.
        found: Tensor = self.network.forward_unet(torch.cat((whole, level), dim=1))
        found = found[..., :height, :width]
        return image + found if self.residual else found


def _continued(image: Tensor, axis: int) -> Tensor:
    """Continue an image periodically to a multiple of 8; `F.pad` would allow one period at most."""
    length = image.shape[axis]
    rest = -length % _MULTIPLE
    if not rest:
        return image
    return image.index_select(axis, torch.arange(length + rest, device=image.device) % length)
