"""The denoiser on images of any size."""

import numpy as np
import pytest
import torch
from imaging.imaging_problem import denoiser

from lit_implicit_imaging.denoiser import ImagingDRUNet


@pytest.mark.parametrize("size", [(3, 9), (1, 1), (2, 8), (16, 13)])
def test_an_image_is_continued_periodically(size):
    """Also where it is shorter than what it lacks, so that several periods follow."""
    network = denoiser()
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.02, 0.1])
    rests = [(0, -length % 8) for length in size]
    whole = torch.from_numpy(np.pad(image.numpy(), [(0, 0), (0, 0), *rests], mode="wrap"))
    with torch.no_grad():
        found, expected = network(image, sigma), network(whole, sigma)
    assert found.shape == image.shape
    # The same numbers pass the same layers, but not the same memory: rounding of float32.
    assert torch.allclose(found, expected[..., : size[0], : size[1]], rtol=1e-6, atol=1e-7)
    assert found.abs().max() > 1e-3


def test_settings_out_of_range():
    with pytest.raises(ValueError, match=r"channels` must be four positive numbers, .* got \[1, 2"):
        ImagingDRUNet([1, 2, 3])
    with pytest.raises(ValueError, match="n_blocks` must be at least 1, got 0"):
        ImagingDRUNet(n_blocks=0)
