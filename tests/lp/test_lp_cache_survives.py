"""The cache under kills, a second writer, a full disk, refusals of the system, and signals."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lit_implicit.cli import main
from lit_implicit.errors import DataError
from lit_implicit_lp import cache as cache_module
from lit_implicit_lp import chunk_file, workers
from lit_implicit_lp.cache import LabelCache
from lit_implicit_lp.labels import LabelSettings
from lit_implicit_lp.workers import StoppedError, exit_on_sigterm, work_on_all_cores

SMALL = LabelSettings(seed=0, stream=0, sizes=((2, 6, 6), (3, 5, 8)))


def in_processes(folder, n, *writers):
    """Run writers of one cache; return of each the exit code and the chunks that it left."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("cache_process.py"), folder, str(n), *writers],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def chunks(folder):
    """Names and contents of all chunks."""
    return {path.name: path.read_bytes() for path in Path(folder).rglob("chunk_*.npz")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The chunks of 600 programs, by their hashes, as one process writes them."""
    ((code, written),) = in_processes(tmp_path_factory.mktemp("undisturbed"), 600, "whole")
    assert code == 0
    assert len(written) > 40
    return written


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_no_wrong_and_no_half_chunk(tmp_path, undisturbed):
    moments = [f"{random.Random(i).uniform(0, 0.01):.4f}" for i in range(10)]
    n_left = 0
    for code, left in in_processes(tmp_path, 600, *moments):
        assert code == -signal.SIGKILL
        assert left.items() <= undisturbed.items()
        assert n_left < len(left) < len(undisturbed)  # it died in the middle of its work
        n_left = len(left)
    ((code, left),) = in_processes(tmp_path, 600, "whole")
    assert code == 0
    assert left == undisturbed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_runs_at_once_write_the_same_and_do_not_mind_each_other(tmp_path, undisturbed):
    (first, _), (second, left) = in_processes(tmp_path, 600, "whole", "whole")
    assert (first, second) == (0, 0)
    assert left == undisturbed
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "settings.json").read_text())["seed"] == 0
    assert {path.name for path in folder.iterdir()} == {"settings.json", *undisturbed}


def fit(root, *args):
    """Train on few small programs, in this process."""
    return main([
        "fit", "--task=lp", f"--data.root={root}", "--data.sizes=[[2,6,6]]", "--data.n_train=300",
        "--data.n_val=4", "--data.n_test=4", "--data.progress=false", "--trainer.accelerator=cpu",
        "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--model.operator.width=2", *args,
    ])  # fmt: skip


def error_line(capsys):
    """The one line that a user sees, but for what Lightning says of the machine."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line


def test_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path, capsys, monkeypatch):
    write, n_written = chunk_file.np.savez, []

    def full_after_two(file, **arrays):
        if len(n_written) == 2:
            file.write(b"half a chunk")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n_written.append(0)
        write(file, **arrays)

    monkeypatch.setattr(chunk_file.np, "savez", full_after_two)
    assert fit(tmp_path / "lp") == 2
    line = error_line(capsys)
    assert f"Cannot keep linear programs in '{tmp_path}/lp/" in line
    assert "No space left on device" in line
    assert "Set `data.root` to a folder that you may read and write, with about 1 MiB" in line
    left = chunks(tmp_path)
    assert len(left) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(chunk_file.np, "savez", write)
    assert LabelCache(tmp_path / "lp", LabelSettings(0, 0, ((2, 6, 6),))).ensure(300) > 0
    assert left.items() < chunks(tmp_path).items()


@contextmanager
def small_disk(folder):
    """A file system in memory with 160 KiB of room."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_that_is_really_full(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        cache = LabelCache(disk / "lp", SMALL)
        cache.ensure(50)  # else it may be these that no room is left for: chunks are made at once
        with pytest.raises(DataError, match=r"No space left on device.*Set `data\.root`"):
            cache.ensure(2000)
        left = chunks(disk)
        assert left
        assert not list(disk.rglob("*.tmp"))
        n_whole = sum(cache._read(int(name[6:11]))["status_counts"].sum() > 0 for name in left)
        assert n_whole == len(left)
        cache.ensure(50)  # what there was room for still works
        assert len(cache.load(50)) == 50


@pytest.mark.parametrize("what", ["root is a file", "chunk is a folder", "bad disk"])
def test_what_the_system_refuses_is_one_line(tmp_path, capsys, monkeypatch, what):
    root = tmp_path / "lp"
    if what == "root is a file":
        root.write_text("")
    else:
        LabelCache(root, LabelSettings(0, 0, ((2, 6, 6),))).ensure(300)
        path = next(root.rglob("chunk_00001.npz"))
    if what == "chunk is a folder":
        path.unlink()
        path.mkdir()
    elif what == "bad disk":

        def refuse(path, *_):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

        monkeypatch.setattr(cache_module, "read_chunk", refuse)
    assert fit(root) == 2
    line = error_line(capsys)
    assert f"Cannot keep linear programs in '{root}/" in line
    assert "Set `data.root`" in line
    refusal = {"root is a file": "Not a directory", "chunk is a folder": "Is a directory",
               "bad disk": "Input/output error"}  # fmt: skip
    assert f"{refusal[what]}: '{root}/" in line


def test_complete_cache_needs_no_permission_to_write(tmp_path, monkeypatch):
    cache = LabelCache(tmp_path, SMALL)
    cache.ensure(100)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(cache_module, "replace_whole", refuse)
    monkeypatch.setattr(chunk_file, "replace_whole", refuse)
    assert cache.ensure(100) == 0
    assert len(cache.load(100)) == 100


def test_work_given_up_ends_in_all_threads(monkeypatch):
    monkeypatch.setattr(workers, "n_cores", lambda: 3)
    all_at_work, begun = threading.Barrier(4, timeout=60), []

    def make(number, check):
        begun.append(number)
        if number > 0:
            all_at_work.wait()
            while True:  # for ever, but for the check
                check()
                time.sleep(0.001)
        return number

    def consume():
        for number in work_on_all_cores(make, range(50)):
            assert number == 0
            all_at_work.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert sorted(begun) == [0, 1, 2, 3]  # none of the others began


def test_error_of_one_thread_is_raised_and_ends_the_others():
    def make(number, check):
        if number == 0:
            raise OSError(errno.ENOSPC, "full")
        while True:
            check()
            time.sleep(0.001)

    with pytest.raises(OSError, match="full"):
        list(work_on_all_cores(make, range(4)))
    assert not issubclass(StoppedError, OSError)


def test_sigterm_leaves_by_143_in_the_block_alone():
    def block():
        with exit_on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as left:
            block()
        assert left.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the user's own stays
        with exit_on_sigterm():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_signal_while_programs_are_solved_ends_the_command_and_loses_nothing(tmp_path, how):
    program = Path(sys.executable).with_name("lit-implicit")
    process = subprocess.Popen(
        [program, "fit", "--task=lp", "--data.n_train=200000", "--trainer.accelerator=cpu"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(chunks(tmp_path)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    begun = time.monotonic()
    process.send_signal(getattr(signal, how))
    out, err = process.communicate(timeout=60)
    # Labelling all would take minutes; most of this is the interpreter's own farewell.
    assert time.monotonic() - begun < 20
    # Lightning's own code after Ctrl-C is 1; that of the shells is 130.
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[how]
    assert "Traceback" not in out + err
    assert "What was solved is kept in 'data/lp/" in err
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.glob("runs/*/*"))
    cache = LabelCache(tmp_path / "data/lp", LabelSettings(0, 0, ((10, 50, 100),)))
    left = {path: path.stat().st_mtime_ns for path in cache.folder.glob("chunk_*.npz")}
    assert len(left) >= 3
    cache.ensure(100 * len(left))  # the next run goes on from there: every one is whole and kept
    assert {path: path.stat().st_mtime_ns for path in left} == left


def test_room_is_about_what_the_files_take(tmp_path):
    settings = LabelSettings(0, 0, ((6, 30, 60),), modes=("A", "b", "l"))
    cache = LabelCache(tmp_path, settings)
    cache.ensure(100)
    n = sum(len(np.load(path)["index"]) for path in cache.folder.glob("chunk_*"))
    size = sum(path.stat().st_size for path in cache.folder.glob("chunk_*"))
    assert settings.n_bytes(n) == pytest.approx(size, rel=0.1)
