"""FNO-DEQ's files and forces of one's own: what is read, mended and refused."""

import pickle

import numpy as np
import pytest
import torch
from flow.flow_problem import fields, off

from lit_implicit.errors import DataError
from lit_implicit_flow.data import FlowDataModule
from lit_implicit_flow.equation import force_of, project, relative_residual
from lit_implicit_flow.forces import sound_forces
from lit_implicit_flow.safe_arrays import read_arrays

NU = 0.05


def example(number, side=32, frames=5):
    """One example of FNO-DEQ: a steady pair in each frame."""
    w = 0.33 * fields(side, frames, number, max_wavenumber=3)
    return {"f": force_of(w, NU).numpy(), "w": w.numpy(), "f_curl": 0 * w.numpy()}


@pytest.fixture
def folder(tmp_path):
    for number in range(9):
        np.save(tmp_path / f"example_{number:05d}.npy", example(number))
    np.save(tmp_path / "grid.npy", np.zeros((2, 32, 32)))
    return tmp_path


def data(folder, **options):
    values = {"n_train": 5, "n_val": 2, "n_test": 2, "nu": NU, "shifts": False, "dtype": "float64",
              "eval_batch_size": 9, "batch_size": 9, "folder": str(folder)}  # fmt: skip
    module = FlowDataModule(**{**values, **options})
    module.prepare_data()
    module.setup(None)
    return module


def test_public_data_are_read_frame_by_frame_and_thinned(folder, told):
    module = data(folder, frame=2)
    test = next(iter(module.test_dataloader()))
    assert test.names == ("example_00007.npy", "example_00008.npy")
    assert test.target.shape == (2, 1, 16, 16)
    wanted = torch.from_numpy(example(7)["w"][2, ::2, ::2])
    w, f = test.x.physical_vorticity(test.target), test.x.physical_force()
    assert off(w[:1], wanted[None]) < 1e-13
    assert float(relative_residual(w, f, NU).max()) < 1e-10  # of band 6 at most: thinned exactly
    assert test.x.vorticity_scale[0] == pytest.approx(0.1116228327**0.5)
    assert test.x.force_scale[0] == pytest.approx(0.0030435901**0.5)
    train = next(iter(module.train_dataloader()))
    assert sorted(train.names) == [f"example_{i:05d}.npy" for i in range(5)]
    assert sorted(next(iter(module.val_dataloader())).names) == [
        "example_00005.npy", "example_00006.npy"
    ]  # fmt: skip
    assert len(told) == 3  # a line a split: what the pairs leave in the equation
    assert all("leave a relative residual of" in line for line in told)


def test_frame_three_and_stride_two_are_the_papers(folder):
    target = next(iter(data(folder).test_dataloader())).target
    wanted = torch.from_numpy(example(7)["w"][3, ::2, ::2]) / 0.1116228327**0.5
    assert off(target[:1, 0], wanted[None]) < 1e-12


def test_mean_and_divergent_part_are_taken_out_and_told_once(folder, told):
    bad = example(7)
    bad["f"][3] += 0.1
    np.save(folder / "example_00007.npy", bad)
    test = next(iter(data(folder).test_dataloader()))
    assert test.x.force.mean((-2, -1)).abs().max() < 1e-12
    lines = [line for line in told if "taken out" in line]
    assert len(lines) == 1
    assert lines[0].startswith("`data.folder` (test): mean and divergent part of the forces, up to")
    clean = np.asarray(example(7)["f"][3, :, ::2, ::2])
    assert off(test.x.physical_force()[:1], torch.from_numpy(clean)[None]) < 1e-12


@pytest.mark.parametrize(("nu", "asked"), [(NU, False), (0.2 * NU, True)])
def test_a_viscosity_that_is_not_the_datas_is_told(folder, told, nu, asked):
    data(folder, nu=nu)
    assert len(told) == 3
    assert all((f"best with {NU}: is `data.nu` that of these data?" in t) == asked for t in told)


def write(folder, **changes):
    content = {**example(0), **changes}
    np.save(folder / "example_00000.npy", {k: v for k, v in content.items() if v is not None})


def nan(folder):
    w = example(0)["w"]
    w[3, 4, 4] = np.nan
    write(folder, w=w)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan, r"`w` of .*example_00000.npy' has 1 values that are not finite, of 256"),
        (lambda p: write(p, w=example(0)["w"][:, :30], f=example(0)["f"][:, :, :30]),
         r"`f` of .*example_00000.npy' has fields of 15 x 16 points. The periodic square"),
        (lambda p: write(p, w=example(0)["w"][:2], f=example(0)["f"][:2]),
         r"has 2 frames, so `data.frame` 3 is too many"),
        (lambda p: write(p, w=None), r"has no array 'w' of numbers; it holds \['f', 'f_curl'\]"),
        (lambda p: write(p, w="text"), r"has no array 'w' of numbers"),
        (lambda p: write(p, f=example(0)["w"]), r"'f' of .* has shape \(5, 32, 32\); expected"),
        (lambda p: write(p, f=example(0)["f"][:, :1]), r"has forces of shape \(1, 16, 16\)"),
        (lambda p: write(p, **example(0, side=24)), r"16 points a side, the files before it 12"),
        (lambda p: write(p, f=0 * example(0)["f"] + 1.0), r"a force without a curl \(number 0\)"),
        (lambda p: np.save(p / "example_00000.npy", np.zeros(3)), "array of shape"),
        (lambda p: np.save(p / "example_00000.npy", np.array([1], object)), "array of shape"),
        (lambda p: (p / "example_00000.npy").write_bytes(b"no array"), "as a dict of arrays"),
    ],
)  # fmt: skip
def test_examples_that_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        data(folder)
    assert "\n" not in str(caught.value)


def test_folders_that_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds 9 examples, 12 are wanted: `data.n_train`"):
        data(folder, n_train=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no file example_\*.npy"):
        data(tmp_path / "empty")
    with pytest.raises(DataError, match="is no folder"):
        data(tmp_path / "nowhere")


class Evil:
    """A pickle that runs a command."""

    def __reduce__(self):
        import os

        return os.mkdir, ("ran",)


@pytest.mark.parametrize("hidden", [False, True])
def test_no_code_is_run(tmp_path, monkeypatch, hidden):
    monkeypatch.chdir(tmp_path)
    content = {"f": np.array([Evil()], object) if hidden else Evil()}
    np.save("example_00000.npy", content)
    with pytest.raises(DataError, match=r"it asks for `(posix|nt|os).mkdir`, which is no array"):
        read_arrays(tmp_path / "example_00000.npy")
    assert not (tmp_path / "ran").exists()
    np.load("example_00000.npy", allow_pickle=True)
    assert (tmp_path / "ran").exists()  # this is what was avoided


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_any_protocol_that_numpy_writes_are_read(tmp_path, protocol):
    given = {"f": np.arange(6.0, dtype=np.float32).reshape(2, 3), "n": 3, "t": [1.5, "a"],
             "s": np.float64(2.5)}  # fmt: skip
    path = tmp_path / "a.npy"
    np.save(path, given)
    head = path.read_bytes()[:128]
    content = np.empty((), object)
    content[()] = given
    path.write_bytes(head + pickle.dumps(content, protocol))
    found = read_arrays(path)
    assert found.keys() == given.keys()
    assert np.array_equal(found["f"], given["f"])
    assert found["s"] == 2.5
    assert found["t"] == [1.5, "a"]


def test_own_forces_are_predicted_on(tmp_path, told):
    w = 0.33 * fields(24, 3)
    force = force_of(w, NU).numpy()
    np.save(tmp_path / "one.npy", force[0].astype(np.float32))
    np.save(tmp_path / "two.npy", force[1:] + 0.2)
    module = FlowDataModule(
        str(tmp_path / "data"), nu=NU, files=[str(tmp_path / n) for n in ("one.npy", "two.npy")]
    )
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert batch.names == ("one.npy", "two.npy[0]", "two.npy[1]")
    assert batch.target is None
    assert off(batch.x.physical_force(), torch.from_numpy(force).float()) < 1e-6
    assert len(told) == 1
    assert "two.npy': mean and divergent part" in told[0]
    assert batch.select(torch.tensor([False, True, False])).names == ("two.npy[0]",)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8, 9)), "has fields of 8 x 9 points"),
        (np.full((2, 8, 8), np.inf), "has 128 values that are not finite, of 128"),
        (np.ones((2, 8, 8)), "has a force without a curl"),
        (np.ones((3, 8, 8)), r"has shape \(1, 3, 8, 8\); expected \(2, N, N\) or \(n, 2, N, N\)"),
        (np.ones((8, 8)), r"has shape \(8, 8\); expected"),
        (np.ones((2, 8, 8), int), "holds no array of floating-point numbers"),
        (np.array({"f": 1}, object), "Cannot read .* of `data.files`"),
    ],
)
def test_own_forces_that_are_refused(tmp_path, array, message):
    path = tmp_path / "f.npy"
    np.save(path, array)
    with pytest.raises(DataError, match=message) as caught:
        FlowDataModule(files=[str(path)]).setup("predict")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04no archive", b"\x93NUMPY\x01\x00"])
def test_own_files_that_are_cut_short_are_named(tmp_path, content):
    path = tmp_path / "f.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Cannot read .*f.npy' of `data.files`: .*numpy.save"):
        FlowDataModule(files=[str(path)]).setup("predict")


def test_own_forces_of_several_resolutions_are_refused(tmp_path):
    for side in (16, 24):
        np.save(tmp_path / f"{side}.npy", force_of(fields(side, 1, max_wavenumber=2), NU).numpy())
    files = [str(tmp_path / name) for name in ("16.npy", "24.npy")]
    with pytest.raises(DataError, match="24 points a side, the files before it 16"):
        FlowDataModule(files=files).setup("predict")
    with pytest.raises(DataError, match=r"Cannot read .*missing.npy' of `data.files`"):
        FlowDataModule(files=["missing.npy"]).setup("predict")


def test_rounding_is_mended_without_a_word(told):
    force = force_of(0.33 * fields(), NU)
    assert off(sound_forces(force, "here"), force) < 1e-13
    assert off(sound_forces(force.float(), "here"), force.float()) < 1e-5
    assert told == []
    assert off(sound_forces(force + 1e-3, "here"), project(force)) < 1e-12
    assert len(told) == 1
