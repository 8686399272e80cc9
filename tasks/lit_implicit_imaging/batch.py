"""A batch of photographs: what the network sees of them, and the truth."""

from dataclasses import dataclass, replace

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
        index: Number of each photograph in its split, shape `(n,)`.
        files: Path of each photograph's file.
        margin: Pixels that do not belong to the photograph, on the left, the right, above and
            below.
    """

    x: ImagingInput
    target: Tensor | None
    index: Tensor
    files: tuple[str, ...]
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)

    def without_margin(self, image: Tensor) -> Tensor:
        """Cut the margin off images, shape `(..., height, width)`."""
        left, right, top, bottom = self.margin
        return image[..., top : image.shape[-2] - bottom, left : image.shape[-1] - right]

    def select(self, keep: Tensor) -> "ImagingBatch":
        """Return the photographs in `keep` (`(n,)`, boolean)."""
        files = tuple(f for f, kept in zip(self.files, keep.tolist(), strict=True) if kept)
        target = None if self.target is None else self.target[keep]
        x = select_samples(self.x, keep)
        return replace(self, x=x, target=target, index=self.index[keep], files=files)
