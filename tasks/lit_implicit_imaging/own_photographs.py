"""The user's own blurred photographs as batches of one, of any size."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_implicit.errors import DataError
from lit_implicit_imaging.batch import ImagingBatch, ImagingInput
from lit_implicit_imaging.borders import extend
from lit_implicit_imaging.photographs import read_photograph
from lit_implicit_imaging.samples import as_image


class OwnPhotographs(Dataset[ImagingBatch]):
    """Blurred photographs that nobody knows the truth of.

    Each is read when it is asked for, and extended beyond its edges, so that a circular blur
    explains it; the batch's `margin` says by how much.

    Args:
        files: The photographs.
        kernel: The kernel that blurred them, shape `(1, rows, columns)`.
        noise: Standard deviation of their noise.
        dtype: Precision.
    """

    def __init__(
        self, files: Sequence[Path], kernel: Tensor, noise: float, dtype: torch.dtype
    ) -> None:
        self.files, self.kernel = tuple(files), kernel
        self.noise, self.dtype = noise, dtype

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> ImagingBatch:
        """Return a photograph as a batch: sizes differ, so there is one in each."""
        (index,) = indices
        return self[index]

    def __getitem__(self, index: int) -> ImagingBatch:
        """Return a photograph.

        Raises:
            DataError: If it cannot be read, or is smaller than the kernel.
        """
        photograph = read_photograph(self.files[index])
        rows, columns = self.kernel.shape[-2:]
        height, width = photograph.size
        if height < rows or width < columns:
            raise DataError(
                f"{photograph.name!r} ({width} x {height}) is smaller than the blur kernel "
                f"({columns} x {rows}; width x height). Give a larger photograph."
            )
        image = as_image(torch.from_numpy(photograph.pixels), self.dtype)
        kernel = self.kernel.to(self.dtype)[None]
        observation, margin = extend(image[None], kernel, self.noise)
        x = ImagingInput(observation, kernel, torch.tensor([self.noise], dtype=self.dtype))
        return ImagingBatch(x, None, torch.tensor([index]), (photograph.name,), margin)
