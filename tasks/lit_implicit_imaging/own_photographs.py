"""The user's own blurred photographs as batches of one, of any size."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset

from lit_implicit.errors import DataError
from lit_implicit_imaging.batch import ImagingBatch, ImagingInput
from lit_implicit_imaging.borders import extend
from lit_implicit_imaging.photographs import Photograph, read_photograph
from lit_implicit_imaging.samples import as_image


class OwnPhotographs(Dataset[ImagingBatch]):
    """Blurred photographs that nobody knows the truth of.

    Each is read when it is asked for, and extended beyond its edges, so that a circular blur
    explains it; the batch's `margin` says by how much. What cannot be read, or is smaller than the
    kernel, is left out and named on the console.

    Args:
        files: The photographs.
        kernel: The kernel that blurred them, shape `(1, rows, columns)`.
        noise: Standard deviation of their noise.
        dtype: Precision.

    Raises:
        DataError: If nothing is left.
    """

    def __init__(
        self, files: Sequence[Path], kernel: Tensor, noise: float, dtype: torch.dtype
    ) -> None:
        self.kernel, self.noise, self.dtype = kernel, noise, dtype
        self.files: list[Path] = []
        reasons: list[str] = []
        for path in files:  # now, rather than in the middle of a long prediction
            try:
                self._read(path)
                self.files.append(path)
            except DataError as err:
                reasons.append(str(err))
        if not self.files:
            raise DataError(" ".join(["`data.files` hold nothing to restore.", *reasons]))
        for reason in reasons:
            rank_zero_info(f"Left out: {reason}")

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> ImagingBatch:
        """Return a photograph as a batch: sizes differ, so there is one in each."""
        (index,) = indices
        return self[index]

    def __getitem__(self, index: int) -> ImagingBatch:
        photograph = self._read(self.files[index])
        image = as_image(torch.from_numpy(photograph.pixels), self.dtype)
        kernel = self.kernel.to(self.dtype)[None]
        observation, margin = extend(image[None], kernel, self.noise)
        x = ImagingInput(observation, kernel, torch.tensor([self.noise], dtype=self.dtype))
        return ImagingBatch(
            x, None, torch.tensor([index]), (photograph.name,), margin, repeats=True
        )

    def _read(self, path: Path) -> Photograph:
        photograph = read_photograph(path)
        rows, columns = self.kernel.shape[-2:]
        height, width = photograph.size
        if height < rows or width < columns:
            raise DataError(
                f"{photograph.name!r} ({width} x {height}) is smaller than the blur kernel "
                f"({columns} x {rows}; width x height)."
            )
        return photograph
