"""A disk that is full or may not be written: one line, and the checkpoints before are whole."""

import errno
import json
import os
import shlex
import subprocess
from contextlib import contextmanager

import pytest
import torch

from lit_implicit import checkpoint_io
from lit_implicit.cli import main


def error_lines(capsys):
    """What was said last: how to go on, and the error."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    advice, error = err.splitlines()[-2:]
    assert error.startswith("error: ")
    return advice, error


@contextmanager
def failing_disk(code, n):
    """Let the n-th checkpoint fail in the middle of its content, and all after it."""
    count = 0
    real = checkpoint_io.replace_whole

    @contextmanager
    def replace(path):
        nonlocal count
        count += 1
        with real(path) as file:
            if count >= n:
                file.write(b"the beginning of a checkpoint")
                raise OSError(code, os.strerror(code))
            yield file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_io, "replace_whole", replace)
        yield


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES]
)
def test_disk_that_fails_in_mid_run_costs_no_checkpoint(run, workdir, run_directory, capsys, code):
    with failing_disk(code, 4):  # best and last of the first epoch are there, best of the second
        assert run("fit", "--trainer.max_epochs=3") == 2
    advice, error = error_lines(capsys)
    folder = run_directory().relative_to(workdir)
    full = code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert ("The disk is full" if full else "Writing is not allowed") in error
    assert str(folder / "checkpoints" / "last.ckpt") in error
    assert "--run_dir FOLDER" in error
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 0
    assert json.loads((folder / "report.json").read_text())["status"] == "failed"
    resume = shlex.split(advice.removeprefix("To resume: lit-implicit"))
    assert main([*resume, "--run_dir=resumed"]) == 0
    last = torch.load("resumed/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 2


@pytest.fixture
def disk(tmp_path_factory):
    """Mount a disk of a given size, read-only if asked for; skip where that is not allowed."""
    folder = tmp_path_factory.mktemp("disk")

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a small disk")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("size", ["4k", "12k", "24k", "96k"])
def test_disk_that_is_full(run, capsys, disk, size):
    """Full while config.yaml, events and metrics, the checkpoints or the figures are written."""
    folder = disk(f"size={size}") / "run"
    assert run("fit", f"--run_dir={folder}", "--trainer.max_epochs=2", curves=True) == 2
    _, error = error_lines(capsys)
    assert "The disk is full" in error
    assert str(folder) in error
    for path in (folder / "checkpoints").glob("*"):
        checkpoint_io.read_checkpoint(path)  # whole, if there


def test_disk_that_is_read_only(run, capsys, disk):
    folder = disk("ro") / "run"
    assert run("fit", f"--run_dir={folder}") == 2
    assert f"`run_dir` {str(folder)!r} cannot be made: Read-only file system" in (
        capsys.readouterr().err
    )
