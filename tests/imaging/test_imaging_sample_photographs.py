"""Photographs that need no download."""

import numpy as np
import pytest

from lit_implicit.errors import DataError
from lit_implicit_imaging.photographs import Photograph
from lit_implicit_imaging.sample_photographs import _parts, sample_photographs


def test_there_are_enough_of_each_split():
    assert [len(sample_photographs(split, 96)) for split in ("train", "val", "test")] == [
        19,
        39,
        39,
    ]
    assert [len(sample_photographs(split, 128)) for split in ("train", "val", "test")] == [
        19,
        34,
        34,
    ]
    names = [
        part.name for split in ("train", "val", "test") for part in sample_photographs(split, 8)
    ]
    assert len(set(names)) == 97
    assert len({part.name.split("_")[0] for part in sample_photographs("test", 8)[:12]}) == 12


@pytest.mark.parametrize("size", [(300, 451), (512, 512), (40, 203)])
def test_no_pixel_is_in_two_parts(size):
    numbers = np.arange(size[0] * size[1], dtype=np.float64).reshape(size)
    whole = Photograph("numbers", np.repeat(numbers[..., None], 3, axis=2))
    seen = [
        part.pixels[..., 0].ravel()
        for split in ("train", "val", "test")
        for part in _parts(whole, "numbers", split)
    ]
    joined = np.concatenate(seen)
    assert len(np.unique(joined)) == len(joined)
    assert len(joined) > 0.95 * numbers.size  # what rounding leaves over is in none


def test_no_part_is_large_enough():
    with pytest.raises(
        DataError, match=r"for test .* at most 185 pixels a side, less than `data.eval_crop"
    ):
        sample_photographs("test", 192)


def test_scikit_image_is_not_installed(monkeypatch):
    monkeypatch.setattr("lit_implicit_imaging.sample_photographs.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"scikit-image is not installed: pip install"):
        sample_photographs("test", 8)
