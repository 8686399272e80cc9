"""A batch of photographs: what the network sees of them, and the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_implicit.layout import select_samples


@dataclass(eq=False)  # not frozen: Lightning moves batches by setting their fields
class ImagingInput:
    """What is known of each photograph: x.

    Args:
        observation: Blurred, noisy photographs, shape `(n, channels, height, width)`; light and
            dark are 1 and 0.
        kernel: Blur kernels, shape `(n, 1, rows, columns)`, each of sum 1, no larger
            than the image.
        noise: Standard deviation of each observation's noise, shape `(n,)`.
    """

    observation: Tensor
    kernel: Tensor
    noise: Tensor


@dataclass(eq=False)
class ImagingBatch:
    """Observations, with the photographs that they were made of.

    Args:
        x: What the network may see.
        target: The photographs, shape `(n, channels, height, width)`; None where nobody knows
            them, as with a photograph of the user's own.
        index: Number of each sample in its split, shape `(n,)`; another one for each crop.
        files: Path of each photograph's file.
        margin: Pixels that do not belong to the photograph, on the left, the right, above and
            below.
        repeats: The same number is the same sample in every epoch: false for random crops.
    """

    x: ImagingInput
    target: Tensor | None
    index: Tensor
    files: tuple[str, ...]
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)
    repeats: bool = False

    def without_margin(self, image: Tensor) -> Tensor:
        """Cut the margin off images, shape `(..., height, width)`."""
        left, right, top, bottom = self.margin
        return image[..., top : image.shape[-2] - bottom, left : image.shape[-1] - right]

    @classmethod
    def join(cls, batches: Sequence["ImagingBatch"]) -> "ImagingBatch":
        """Return batches of one size, and of one margin, as a single one."""
        inputs = [batch.x for batch in batches]
        targets = [batch.target for batch in batches if batch.target is not None]
        return replace(
            batches[0],
            x=ImagingInput(
                observation=torch.cat([x.observation for x in inputs]),
                kernel=torch.cat([x.kernel for x in inputs]),
                noise=torch.cat([x.noise for x in inputs]),
            ),
            target=torch.cat(targets) if targets else None,
            index=torch.cat([batch.index for batch in batches]),
            files=tuple(file for batch in batches for file in batch.files),
        )

    def select(self, keep: Tensor) -> "ImagingBatch":
        """Return the photographs in `keep` (`(n,)`, boolean)."""
        files = tuple(f for f, kept in zip(self.files, keep.tolist(), strict=True) if kept)
        target = None if self.target is None else self.target[keep]
        x = select_samples(self.x, keep)
        return replace(self, x=x, target=target, index=self.index[keep], files=files)
