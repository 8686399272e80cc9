"""What the data module refuses, each in one line."""

import numpy as np
import pytest
from photographs import write_bsds

from lit_implicit.errors import ConfigError
from lit_implicit_imaging.data import ImagingDataModule


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 0}, "`ImagingDataModule.n_train` must be at least 1, got 0"),
        ({"crops_per_image": 0}, "crops_per_image` must be at least 1, got 0"),
        ({"seed": -1}, "seed` must be at least 0, got -1"),
        ({"seed": 2**63}, "seed` must be below"),
        ({"batch_size": 0}, "batch_size` must be at least 1"),
        ({"eval_batch_size": 0}, "eval_batch_size` must be at least 1"),
        ({"num_workers": -1}, "num_workers` must be at least 0"),
        ({"crop": 100}, "multiple of 8, .* got 100; 96 is one"),
        ({"crop": 4}, "multiple of 8, .* got 4; 8 is one"),
        ({"eval_crop": 30}, "eval_crop` must be a multiple of 8, .* got 30; 32 is one"),
        ({"root": ""}, "root` is empty"),
        ({"kernel_size": 16}, "kernel_size` must be odd, .* got 16"),
        ({"kernel_width": 0.0}, "kernel_width` must be positive, got 0.0"),
        ({"kernel_per_image": True, "kernel": "delta"}, "draws motion kernels; `kernel` 'delta'"),
        (
            {"kernel_index": 1},
            "kernel_index` is for a kernel in a file, got 1 with `kernel` 'motion'",
        ),
        (
            {"kernel_index": 0, "kernel": "delta"},
            "kernel_index` is for .* got 0 with `kernel` 'delta'",
        ),
        (
            {"normalize_kernel": True, "kernel": "gaussian"},
            "normalize_kernel` is for .* got True with `kernel` 'gaussian'; leave it out",
        ),
        ({"noise": -0.1}, r"at least 0, or two .* got \[-0.1\]"),
        ({"noise": float("nan")}, r"at least 0, or two .* got \[nan\]"),
        ({"noise": (0.2, 0.1)}, r"the least and then the greatest .* got \[0.2, 0.1\]"),
        ({"files": ["a.png", ""]}, "must hold paths, got an empty one"),
        ({"crops": "randon"}, "crops` must be fixed or random, got 'randon'"),
        ({"dtype": "float16"}, "dtype` must be float32 or float64, got 'float16'"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ImagingDataModule(**options)
    assert "\n" not in str(caught.value)


def test_a_kernel_larger_than_a_crop(tmp_path):
    np.save(tmp_path / "kernel.npy", np.ones((3, 18)) / 54)
    root = str(write_bsds(tmp_path / "photographs"))
    module = ImagingDataModule(root, crop=16, kernel=str(tmp_path / "kernel.npy"))
    with pytest.raises(
        ConfigError, match=r"kernel.npy' has 3 x 18 pixels, more than `data.crop` 1"
    ):
        module.setup("fit")
    module = ImagingDataModule(root, crop=24, eval_crop=16, kernel=str(tmp_path / "kernel.npy"))
    with pytest.raises(ConfigError, match=r"more than `data.eval_crop` 16"):
        module.setup("test")
