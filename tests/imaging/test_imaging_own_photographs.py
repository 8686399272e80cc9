"""Prediction on photographs of one's own, which are of any size and have no target."""

import numpy as np
import pytest
import torch
from photographs import pixels, write, write_bsds

from lit_implicit.errors import ConfigError, DataError
from lit_implicit_imaging.data import ImagingDataModule

KERNEL = np.ones((3, 5)) / 15


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "kernel.npy", KERNEL)
    write(tmp_path / "own/a.png", pixels(0, 33, 46))
    write(tmp_path / "own/b.png", pixels(1, 24, 24))
    return tmp_path


def data(folder, *files, **options):
    options = {"kernel": str(folder / "kernel.npy"), "noise": 0.02, **options}
    module = ImagingDataModule(files=[str(folder / file) for file in files], **options)
    module.setup("predict")
    return module


@pytest.mark.parametrize("n_workers", [0, 1])
def test_each_file_is_a_batch_of_its_size(folder, n_workers):
    module = data(folder, "own", dtype="float64", num_workers=n_workers)
    batches = list(module.predict_dataloader())
    assert [batch.files[0][-5:] for batch in batches] == ["a.png", "b.png"]
    for i, (batch, size) in enumerate(zip(batches, ((33, 46), (24, 24)), strict=True)):
        assert batch.index.tolist() == [i]
        assert batch.target is None
        assert batch.x.noise.tolist() == [0.02]
        assert np.allclose(batch.x.kernel[0, 0], KERNEL, rtol=1e-15)
        assert all(length % 8 == 0 for length in batch.x.observation.shape[2:])
        seen = batch.without_margin(batch.x.observation)[0]
        assert torch.equal(seen, torch.from_numpy(pixels(i, *size)).permute(2, 0, 1).double() / 255)


def test_without_files_the_test_split_is_predicted(folder):
    root = write_bsds(folder / "photographs")
    module = ImagingDataModule(str(root), crop=16, kernel="delta", eval_batch_size=2)
    module.setup("predict")
    batches = list(module.predict_dataloader())
    assert [batch.index.tolist() for batch in batches] == [[0, 1], [2]]
    assert all(batch.target is not None for batch in batches)


def test_files_need_a_kernel_of_their_own(folder):
    with pytest.raises(ConfigError, match="Give the kernel as a file"):
        data(folder, "own", kernel="motion")
    data(folder, "own", kernel="gaussian")


def test_files_need_one_noise_level(folder):
    with pytest.raises(ConfigError, match=r"need one `data.noise`, their own, got \[0.01, 0.1\]"):
        data(folder, "own", noise=(0.01, 0.1))


def test_files_that_cannot_be_restored_are_left_out_and_named(folder, told):
    write(folder / "own/small.png", pixels(0, 2, 9))
    (folder / "own/broken.png").write_bytes(b"")
    module = data(folder, "own")
    assert [batch.files[0][-5:] for batch in module.predict_dataloader()] == ["a.png", "b.png"]
    broken, small = told
    assert "broken.png' is no image" in broken
    assert "small.png' (9 x 2) is smaller than the blur kernel (5 x 3; width x height)" in small
    with pytest.raises(
        DataError, match=r"hold nothing to restore. .*small.png' .* .*broken.png' i"
    ):
        data(folder, "own/small.png", "own/broken.png")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        data(folder, "nothing.png")
