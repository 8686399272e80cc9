"""Blur kernels: known ones, drawn ones, and those of files."""

import io
import math
import pickle

import numpy as np
import pytest
import torch
from photographs import public_data
from PIL import Image

from lit_implicit.errors import ConfigError, DataError
from lit_implicit_imaging.kernel_files import read_kernel
from lit_implicit_imaging.kernels import KernelSettings, find_kernel

rng = np.random.default_rng(0)
KERNEL = rng.random((5, 7))
KERNEL /= KERNEL.sum()


def saved(tmp_path, array, name="kernel.npy"):
    np.save(tmp_path / name, array, allow_pickle=True)
    return tmp_path / name


def test_gaussian_has_its_width():
    kernel = find_kernel(KernelSettings("gaussian", size=31, width=2.0))(0)[0]
    place = torch.arange(31, dtype=torch.float64) - 15
    assert abs(kernel.sum() - 1) < 1e-12
    for axis in (0, 1):
        # Cut off at 7.75 widths, sampled at more than its Nyquist rate.
        assert abs((kernel.sum(1 - axis) * place**2).sum() - 4) < 1e-6
    ratio = kernel[15 + 3, 15 - 2] / kernel[15, 15]
    assert abs(ratio - math.exp(-(9 + 4) / 8)) < 1e-12


def test_motion_kernels_are_functions_of_the_seed():
    draw = find_kernel(KernelSettings("motion", size=17))
    first = draw(3)
    assert first.shape == (1, 17, 17)
    assert abs(first.sum() - 1) < 1e-12
    assert first.min() >= 0
    assert (first > 0).sum() > 10, "a path, not a point"
    torch.manual_seed(5)
    find_kernel.__globals__["motion_kernel"].cache_clear()
    assert torch.equal(draw(3), first)
    assert not torch.equal(draw(4), first)


def test_delta_is_a_point():
    assert torch.equal(find_kernel(KernelSettings("delta"))(9), torch.ones(1, 1, 1).double())


def test_an_array_is_used_as_it_is(tmp_path):
    kernel = find_kernel(KernelSettings(str(saved(tmp_path, KERNEL))))(0)
    assert np.abs(kernel[0].numpy() - KERNEL).max() < 1e-15


def test_one_of_several(tmp_path):
    stack = np.stack([KERNEL.T, KERNEL.T[::-1]])
    assert np.allclose(read_kernel(saved(tmp_path, stack), 1), KERNEL.T[::-1], rtol=1e-15)
    for shape in ((2,), (1, 2)):  # of different sizes, as Levin's
        several = np.empty(2, object)
        several[:] = [KERNEL, np.ones((3, 3), np.float32) / 9]
        path = saved(tmp_path, several.reshape(shape))
        assert np.allclose(read_kernel(path, 0), KERNEL, rtol=1e-15)
        assert np.allclose(read_kernel(path, 1), 1 / 9, rtol=1e-6)
        for wrong in (None, 2, -1):
            with pytest.raises(DataError, match=f"must be 0 to 1, got {wrong}"):
                read_kernel(path, wrong)
    with pytest.raises(DataError, match=r"is the only one; leave `data.kernel_index` out, got 1"):
        read_kernel(saved(tmp_path, KERNEL), 1)


class Code:
    def __reduce__(self):
        return print, ("a kernel's file ran code",)


def test_a_file_of_objects_runs_no_code(tmp_path, capsys):
    several = np.empty(1, object)
    several[0] = Code()
    with pytest.raises(DataError, match=r"holds builtins.print, where only arrays are read"):
        read_kernel(saved(tmp_path, several), 0)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    (tmp_path / "other.npy").write_bytes(header.getvalue() + pickle.dumps(Code()))
    with pytest.raises(DataError, match=r"builtins.print"):
        read_kernel(tmp_path / "other.npy", 0)
    assert capsys.readouterr().out == ""


def test_an_image_is_divided_by_its_sum(tmp_path):
    gray = (KERNEL / KERNEL.max() * 255).round().astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "kernel.png")
    Image.fromarray(np.dstack([gray] * 3)).save(tmp_path / "color.png")
    deep = (KERNEL / KERNEL.max() * 65535).round().astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name, exact in (("kernel.png", gray), ("color.png", gray), ("deep.png", deep)):
        found = read_kernel(tmp_path / name)
        assert np.allclose(found, exact / exact.sum(dtype=float), rtol=1e-12), name
        with pytest.raises(
            DataError, match=r"is an image, .* leave `data.kernel_index` out, got 0"
        ):
            read_kernel(tmp_path / name, 0)


def test_levins_kernels_are_read():
    kernel = read_kernel(public_data("kernels/levin09_1.npy"))
    assert kernel.shape == (17, 17)
    assert abs(kernel.sum() - 1) < 1e-12


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (3 * KERNEL, "sum 1, to keep the light, got 3. `data.normalize_kernel: true`"),
        (0 * KERNEL, "got 0. It is dark"),
        (KERNEL - 0.02, "no negative entry"),
        (np.where(KERNEL > 0.03, np.nan, KERNEL), "finite ones, got nan"),
        (KERNEL[0], r"two axes \(rows, columns\), got shape \(7,\)"),
        (KERNEL[None, None], r"two axes \(rows, columns\), got shape \(1, 1, 5, 7\)"),
        (KERNEL[:0], r"got shape \(0, 7\)"),
        (np.array([["a"]]), "cannot be read: ValueError"),
    ],
)
def test_arrays_that_are_no_kernel(tmp_path, array, message):
    with pytest.raises(DataError, match=message):
        read_kernel(saved(tmp_path, array))


def test_a_sum_near_one_is_made_one_and_others_on_demand(tmp_path):
    for factor, normalize in ((1.0009, False), (0.9991, False), (255.0, True)):
        path = saved(tmp_path, factor * KERNEL)
        assert np.allclose(read_kernel(path, normalize=normalize), KERNEL, rtol=1e-12)


def test_files_that_cannot_be_read(tmp_path):
    for name in ("a.npy", "a.png"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(DataError, match="cannot be read"):
            read_kernel(tmp_path / name)
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(DataError, match=r"must end in .npy, .png"):
        read_kernel(tmp_path / "a.mat")


def test_a_misspelt_kernel():
    with pytest.raises(ConfigError, match=r"'moton' is none .* Did you mean 'motion'\?"):
        find_kernel(KernelSettings("moton"))
