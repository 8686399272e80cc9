"""Which photographs a folder gives: layouts, splits, and what is left out."""

import sys

import numpy as np
import pytest
from photographs import pixels, public_data, write, write_bsds
from PIL import Image

from lit_implicit.errors import DataError
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.folders import find_splits, read_split
from lit_implicit_imaging.photographs import find_files, read_photograph


def read(root, split, crop, most):
    return read_split(root, find_splits(root), split, crop, most)


PLACES = ["", "images", "data/images", "BSR/BSDS500/data/images",
          "BSDS500/BSDS500-master/BSDS500/data/images"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_folders_train_val_and_test_are_the_splits(tmp_path, place):
    found = find_splits(write_bsds(tmp_path, place=place))
    assert {split: len(paths) for split, paths in found.items()} == {
        "train": 5,
        "val": 2,
        "test": 3,
    }
    assert all(path.parent.name == split for split, paths in found.items() for path in paths)


def test_folders_without_photographs_and_single_ones_below_are_no_splits(tmp_path):
    for split in ("train", "val", "test"):  # as BSDS500 keeps its segmentations
        (tmp_path / "data/groundTruth" / split).mkdir(parents=True)
        (tmp_path / "data/groundTruth" / split / "1.mat").write_bytes(b"")
    write(tmp_path / "a/test/1.png", pixels(0))
    write_bsds(tmp_path, place="data/images")
    assert [len(paths) for paths in find_splits(tmp_path).values()] == [5, 2, 3]


def test_several_folders_of_splits_are_refused(tmp_path):
    write_bsds(tmp_path, place="city")
    write_bsds(tmp_path, place="land")
    with pytest.raises(DataError, match=r"in several places: city; land. Name one of them"):
        find_splits(tmp_path)


def test_bsds500_is_recognised():
    found = find_splits(public_data("BSDS500"))
    assert [len(paths) for paths in found.values()] == [200, 100, 200]


def test_any_other_folder_is_split_by_names_and_stays_so(tmp_path, told):
    for i in range(100):
        write(tmp_path / f"{i // 10}" / f"photo{i}.png", pixels(i, 8, 8))
    first = {path: split for split, paths in find_splits(tmp_path).items() for path in paths}
    counts = [list(first.values()).count(split) for split in ("train", "val", "test")]
    assert sum(counts) == 100
    told.clear()
    module = ImagingDataModule(str(tmp_path), crop=8, kernel="delta")
    module.setup("fit")
    module.setup("test")
    (line,) = told
    assert (
        "by a hash of their names, {} for train, {} for val, {} for test.".format(*counts) in line
    )
    assert all(abs(n - share) < 13 for n, share in zip(counts, (70, 10, 20), strict=True))
    write(tmp_path / "new.png", pixels(0, 8, 8))
    for i in range(0, 100, 3):
        (tmp_path / f"{i // 10}" / f"photo{i}.png").unlink()
    for split, paths in find_splits(tmp_path).items():
        assert all(first.get(path, split) == split for path in paths)


def test_hidden_files_and_other_files_are_no_photographs(tmp_path):
    write_bsds(tmp_path)
    (tmp_path / "images/train/._000.png").write_bytes(b"a Mac's notes")
    (tmp_path / "images/train/readme.txt").write_text("hello")
    assert len(find_splits(tmp_path)["train"]) == 5


def test_a_folder_without_photographs(tmp_path):
    with pytest.raises(
        DataError, match=r"holds no photograph: no file there or below ends in .jpg"
    ):
        find_splits(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        find_splits(tmp_path / "nowhere")


def test_a_split_without_photographs(tmp_path):
    write_bsds(tmp_path, n_val=0)
    with pytest.raises(
        DataError, match=r"no photograph for val \(5 for train, 0 for val, 3 for te"
    ):
        ImagingDataModule(str(tmp_path), crop=24).setup("fit")
    ImagingDataModule(str(tmp_path), crop=24).setup("test")  # which needs none of them


def test_unreadable_and_small_photographs_are_left_out_and_named(tmp_path, told):
    write_bsds(tmp_path)
    train = tmp_path / "images/train"
    (train / "broken.jpg").write_bytes(b"no photograph")
    whole = (train / "000.png").read_bytes()
    (train / "cut.png").write_bytes(whole[: len(whole) // 2])
    np.save(train / "bright.npy", np.full((40, 40), 1.5))
    np.savez(train / "archive", np.zeros((40, 40)))
    (train / "archive.npz").rename(train / "archive.npy")
    (train / "zip.npy").write_bytes((train / "archive.npy").read_bytes()[:50])
    write(train / "small.png", pixels(0, 31, 40))
    kept = read(tmp_path, "train", 32, None)
    assert [photograph.name[-7:] for photograph in kept] == [f"{i:03d}.png" for i in range(5)]
    lines = told
    assert len(lines) == 2, lines
    assert "left out 5 unreadable" in lines[0]
    for name in ("archive.npy", "broken.jpg", "cut.png", "bright.npy", "zip.npy"):
        assert lines[0].count(name) == 1
    assert "values in [0, 1], got 1.5 to 1.5" in lines[0]
    assert "left out 1 smaller than `data.crop` 32" in lines[1]
    assert "small.png' (40 x 31)" in lines[1]


def test_no_photograph_is_left(tmp_path):
    write_bsds(tmp_path)
    with pytest.raises(
        DataError, match=r"No photograph for test .* 3 smaller than `data.eval_crop` 48"
    ):
        read(tmp_path, "test", 48, None)
    for path in (tmp_path / "images/val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"No photograph for val .* left out 2 unreadable"):
        read(tmp_path, "val", 16, None)


def test_the_first_that_can_be_read_are_taken(tmp_path):
    write_bsds(tmp_path)
    (tmp_path / "images/train/001.png").write_bytes(b"")
    kept = read(tmp_path, "train", 16, 3)
    assert [photograph.name[-7:] for photograph in kept] == ["000.png", "002.png", "003.png"]


def test_photographs_are_read_upright_and_in_three_channels(tmp_path):
    image = pixels(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn the image by a quarter, clockwise
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_photograph(tmp_path / "turned.png").pixels, np.rot90(image, -1))
    gray = image[..., 0]
    for name in ("gray.png", "gray.bmp", "gray.npy"):
        path = tmp_path / name
        np.save(path, gray) if name.endswith("npy") else Image.fromarray(gray).save(path)
        assert np.array_equal(read_photograph(path).pixels, np.repeat(gray[..., None], 3, 2)), name
    alpha = np.dstack([image, np.full(image.shape[:2], 200, np.uint8)])
    path = write(tmp_path / "alpha.png", alpha)
    assert np.array_equal(read_photograph(path).pixels, image)


def test_sixteen_bits_are_kept(tmp_path):
    deep = (np.arange(40 * 56, dtype=np.uint16) * 29).reshape(40, 56)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        found = read_photograph(tmp_path / name).pixels
        assert found.dtype == np.float32
        assert np.abs(found[..., 1] - deep / 65535).max() < 1e-7
    floats = np.linspace(0, 1, 40 * 56 * 3).reshape(40, 56, 3)
    np.save(tmp_path / "floats.npy", floats)
    assert np.array_equal(read_photograph(tmp_path / "floats.npy").pixels, floats.astype("f4"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((8, 8), np.nan), "values in .0, 1., got nan"),
        (np.full((8, 8), -0.1), "values in .0, 1., got -0.1"),
        (np.zeros((8, 8, 4)), "must have shape"),
        (np.zeros((0, 8)), "must have shape"),
        (np.zeros((8, 8), complex), "must hold numbers"),
        (np.array([[None]]), "cannot be read"),
    ],
)
def test_arrays_that_are_no_photograph(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_photograph(tmp_path / "a.npy")


def test_files_are_found_by_path_folder_and_pattern_once(tmp_path):
    write_bsds(tmp_path, place="")
    train = tmp_path / "train"
    given = [str(train / "003.png"), str(train / "00[01].png"), str(train)]
    assert [path.name for path in find_files(given)] == [f"{i:03d}.png" for i in (3, 0, 1, 2, 4)]
    for wrong in ("nothing.jpg", "*.jpg", str(tmp_path / "val/x*")):
        with pytest.raises(DataError, match="neither a file nor a folder, nor a pattern"):
            find_files([wrong])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="newer versions take it for `*.jpg`")
def test_a_pattern_that_is_none():
    with pytest.raises(DataError, match=r"'\*\*.jpg' is no pattern: .* Use `\*`"):
        find_files(["**.jpg"])
