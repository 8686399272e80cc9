"""The learned part of G: deepinv's DRUNet, for images of any size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MULTIPLE = 8
"""DRUNet halves an image three times."""


class ImagingDRUNet(nn.Module):
    """A denoiser H(image, sigma): deepinv's DRUNet, a U-Net of four scales without biases.

    An image whose sides are no multiples of 8 is continued periodically, as the blur continues it,
    and cut again. (deepinv's own ways differ between training and evaluation, and one of them cuts
    the image in parts: two maps, two fixed points.)

    Args:
        channels: Channels at the four scales. The paper has `[64, 128, 256, 512]`.
        n_blocks: Residual blocks at each scale, down and up. The paper has 4: 32,640,960 weights.
        residual: Add the network's output to the image, so that untrained weights, which are small,
            leave the image nearly as it is. False, the paper's, returns the output itself.
        image_channels: Channels of the image: 3 for color, 1 for gray.

    Raises:
        ValueError: If there are not four positive numbers of channels, or another argument is
            below 1.

    References:
        Zhang et al. (2021), Plug-and-play image restoration with deep denoiser prior,
        arXiv:2008.13751.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 64),
        n_blocks: int = 1,
        residual: bool = False,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        if len(channels) != 4 or min(channels) < 1:
            raise ValueError(
                "`ImagingDRUNet.channels` must be four positive numbers, one for each scale, got "
                f"{list(channels)}."
            )
        for name, value in {"n_blocks": n_blocks, "image_channels": image_channels}.items():
            if value < 1:
                raise ValueError(f"`ImagingDRUNet.{name}` must be at least 1, got {value}.")
        from deepinv.models import DRUNet  # slow to import

        self.residual = residual
        self.network = DRUNet(
            in_channels=image_channels,
            out_channels=image_channels,
            nc=tuple(channels),
            nb=n_blocks,
            pretrained=None,  # its default downloads
        )

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Return the image without its noise.

        Args:
            image: Shape `(n, channels, height, width)`.
            sigma: Standard deviation of the noise, shape `(n,)` or `()`.
        """
        height, width = image.shape[-2:]
        rest = (-width % _MULTIPLE, -height % _MULTIPLE)
        whole = F.pad(image, (0, rest[0], 0, rest[1]), mode="circular") if any(rest) else image
        level = sigma.to(whole).reshape(-1, 1, 1, 1).expand(len(whole), 1, *whole.shape[-2:])
        # Its own `forward` would choose among ways to pad; here nothing is left to pad.
        found: Tensor = self.network.forward_unet(torch.cat((whole, level), dim=1))
        if any(rest):
            found = found[..., :height, :width]
        return image + found if self.residual else found
