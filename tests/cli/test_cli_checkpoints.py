"""Checkpoints that are none, damaged, of another model, or harmful: one line each, nothing done."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_implicit.cli import main

GOOD = Path("trained/checkpoints/last.ckpt")


class Code:
    """What a pickle can do when it is read."""

    def __reduce__(self):
        return (open, ("written_by_a_checkpoint", "w"))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-700])


def flip_a_bit_of_a_weight(path):
    content = path.read_bytes()
    weight = torch.load(path, weights_only=True)["state_dict"]["operator.weight"]
    at = content.index(weight.numpy().tobytes())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def archive_of_numpy(path):
    with path.open("wb") as file:
        np.savez(file, weight=np.eye(3))


def change(path, **parts):
    torch.save({**torch.load(path, weights_only=True), **parts}, path)


DAMAGES = {
    "cut off": (cut_off, "cut off"),
    "empty": (lambda path: path.write_bytes(b""), "cut off"),
    "a page": (lambda path: path.write_text("<html>not found</html>"), "no checkpoint"),
    "flipped bit": (flip_a_bit_of_a_weight, "checksum of its part"),
    "archive of numpy": (archive_of_numpy, "cannot be read"),
    "plain pickle": (lambda path: path.write_bytes(pickle.dumps(Code())), "no checkpoint"),
    "pickled code": (lambda path: change(path, extra=Code()), "holds pickled objects"),
    "a tensor": (lambda path: torch.save(torch.eye(3), path), "it has no 'state_dict'"),
    "of another shape": (
        lambda path: change(path, state_dict={"operator.weight": torch.eye(4)}),
        "size mismatch for operator.weight",
    ),
    "of another model": (
        lambda path: change(path, state_dict={"network.linear.weight": torch.eye(3)}),
        "network.linear.weight",
    ),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the run is kept that all of these tests begin with."""
    return tmp_path_factory.mktemp("kept") / "trained"


@pytest.fixture
def trained(run, capsys, kept):
    """A copy of a good checkpoint, to be spoilt."""
    if not kept.exists():
        assert run("fit", f"--run_dir={kept}") == 0
        capsys.readouterr()
    shutil.copytree(kept, "trained")
    return Path(shutil.copy(GOOD, "given.ckpt"))


def complaint(capsys):
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    return last


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_checkpoint_that_is_no_good(trained, run, capsys, damage, words):
    damage(trained)
    for command in ("fit --ckpt_path", "test --ckpt_path", "fit --model.init_weights"):
        assert run(*f"{command}=given.ckpt".split()) == 2
        line = complaint(capsys)
        assert words in line
        assert "given.ckpt" in line or "does not fit the model" in line
    assert not Path("written_by_a_checkpoint").exists()


def test_objects_are_unpickled_only_on_demand(trained, run, capsys):
    change(trained, extra=Code())
    assert run("test", "--ckpt_path=given.ckpt") == 2
    assert "--weights_only false" in complaint(capsys)
    assert not Path("written_by_a_checkpoint").exists()
    assert run("test", "--ckpt_path=given.ckpt", "--weights_only=false") == 0
    assert Path("written_by_a_checkpoint").exists()


@pytest.mark.parametrize(
    ("flags", "parts", "words"),
    [
        ([], {"optimizer_states": []}, "no state of a training"),
        ([], {"loops": None}, "no state of a training"),
        (["--optimizer=SGD"], {}, "optimizer was (not set), is torch.optim.SGD"),
        (
            ["--optimizer=Adam", "--lr_scheduler=ConstantLR"],
            {},
            "optimizer was (not set), is torch.optim.Adam; lr_scheduler was (not set), is",
        ),
    ],
    ids=["no optimizer", "no progress", "another optimizer", "a scheduler"],
)
def test_training_cannot_go_on_from_what_is_not_there(trained, run, capsys, flags, parts, words):
    change(trained, **parts)
    assert run("fit", "--ckpt_path=given.ckpt", "--trainer.max_epochs=2", *flags) == 2
    line = complaint(capsys)
    assert words in line
    assert "--model.init_weights" in line


def test_evaluation_takes_the_weights_alone(trained, run):
    """Whatever the optimizer was, and where there is no state of a training."""
    change(trained, optimizer_states=[], loops=None)
    assert run("test", "--ckpt_path=given.ckpt", "--optimizer=SGD", "--optimizer.lr=0.1") == 0
    torch.save({"state_dict": torch.load(trained, weights_only=True)["state_dict"]}, trained)
    assert run("test", "--ckpt_path=given.ckpt") == 0
    assert run("fit", "--ckpt_path=given.ckpt") == 2  # but nothing goes on from it


@pytest.mark.parametrize("name", ["last", "best", "hpc", "trained", "trained/checkpoints"])
def test_names_and_folders_are_no_checkpoints(trained, run, capsys, name):
    for command in ("fit", "test"):
        assert run(command, f"--ckpt_path={name}") == 2
        line = complaint(capsys)
        assert "does not exist" in line
        assert name not in ("trained", "trained/checkpoints") or "best.ckpt, last.ckpt" in line


def test_resuming_with_other_settings_is_told(trained, run):
    resume = ["fit", "--ckpt_path=given.ckpt", "--trainer.max_epochs=2"]
    words = r"begun with.*: data.n_samples was 8, is 4; model.solver was lit_implicit.Anderson"
    with pytest.warns(UserWarning, match=words):
        assert run(*resume, "--data.n_samples=4", "--model.solver=Picard") == 0


def test_no_command_is_given_that_must_fail_again(trained, run, capsys):
    change(trained, state_dict={"operator.weight": torch.eye(4)})
    assert run("fit", "--ckpt_path=given.ckpt") == 2
    assert "To resume" not in capsys.readouterr().err


def test_checkpoint_does_not_change_the_learning_rate_in_silence(run, capsys):
    adam = ["--optimizer=Adam", "--trainer.max_epochs=2"]
    assert run("fit", *adam, "--optimizer.lr=0.01", "--run_dir=trained") == 0
    resume = ["fit", *adam, f"--ckpt_path={GOOD}", "--trainer.max_epochs=3"]
    assert run(*resume, "--optimizer.lr=0.02") == 2
    line = complaint(capsys)
    assert "ask for others: optimizer.lr was 0.01, is 0.02. Leave" in line
    assert run(*resume, "--optimizer.lr=0.01") == 0


def test_checkpoint_by_url_is_data_too(affine, workdir, capsys, monkeypatch):
    from lit_implicit.checkpoint_io import WholeCheckpointIO

    asked = {}

    def load(url, map_location=None, weights_only=None, **options):
        asked[url] = weights_only
        return {"state_dict": {}}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io.get_filesystem", _Everywhere)
    url = "http://example.org/last.ckpt"
    WholeCheckpointIO().load_checkpoint(url)
    assert asked == {url: True}


class _Everywhere:
    def __init__(self, path):
        pass

    def exists(self, path):
        return True


def test_missing_checkpoint_names_its_neighbours(trained, capsys):
    assert main(["test", "--task=affine", "--ckpt_path=trained/checkpoints/bset.ckpt"]) == 2
    assert "In its folder: best.ckpt, last.ckpt." in complaint(capsys)
