"""Files that are whole or absent: after errors, kills, a full disk, and side by side."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from lit_implicit import files
from lit_implicit.files import remove_leftovers, replace_whole


def write(path, content):
    with replace_whole(path) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_takes_the_place_of_the_file(tmp_path):
    path = tmp_path / "file.bin"
    write(path, b"old, and longer")
    write(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file.bin"]


def test_old_content_stands_until_the_end_of_the_block(tmp_path):
    path = tmp_path / "file.bin"
    write(path, b"old")
    with replace_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("old", [b"old", None])
def test_any_error_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "file.bin"
    if old is not None:
        write(path, old)

    def fail_halfway():
        with replace_whole(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as raised:
        fail_halfway()
    assert raised.value is error
    assert names(tmp_path) == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old


def test_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file.bin"
    write(path, b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file\.bin'$"):
        write(path, b"new")
    assert names(tmp_path) == ["file.bin"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_content_that_is_still_buffered_meets_the_full_disk_too(tmp_path):
    path = tmp_path / "file.bin"

    def write_onto_a_full_disk():
        with replace_whole(path) as file:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)
            file.write(b"x")  # stays in the buffer: the error comes at the end of the block

    with pytest.raises(OSError, match=r"No space left on device: '.*/file\.bin'$"):
        write_onto_a_full_disk()
    assert names(tmp_path) == []


def test_what_stands_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"directory: '.*/folder'$"):
        write(tmp_path / "folder", b"new")
    with pytest.raises(FileNotFoundError, match=r"directory: '.*/none/file'$"):
        write(tmp_path / "none" / "file", b"new")
    write(tmp_path / "file", b"old")
    with pytest.raises(NotADirectoryError, match=r"directory: '.*/file/file'$"):
        write(tmp_path / "file" / "file", b"new")
    assert names(tmp_path) == ["file", "folder"]


def test_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'.*/other'$"), replace_whole(tmp_path / "file"):
        (tmp_path / "other").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path / "file", b"new")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "best").write_bytes(b"best")
    (tmp_path / "last").symlink_to(tmp_path / "best")
    write(tmp_path / "last", b"last")
    assert (tmp_path / "best").read_bytes() == b"best"
    assert (tmp_path / "last").read_bytes() == b"last"


def test_writers_side_by_side_leave_one_whole_content(tmp_path):
    path = tmp_path / "file.bin"
    contents = [bytes([i]) * 100_000 for i in range(8)]
    seen = set()
    threads = [threading.Thread(target=write, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            seen.add(path.read_bytes())
    for thread in threads:
        thread.join()
    seen.add(path.read_bytes())
    assert seen <= set(contents)
    assert names(tmp_path) == ["file.bin"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_leaves_the_old_content_and_a_leftover(tmp_path):
    path = tmp_path / "file.bin"
    write(path, b"old")
    script = """
import os, signal, sys
from lit_implicit.files import replace_whole
with replace_whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (leftover,) = tmp_path.glob("*.tmp")
    remove_leftovers(tmp_path)
    assert leftover.read_bytes() == b"half"  # so young a file may be another process's
    an_hour_ago = time.time() - 3601
    os.utime(leftover, (an_hour_ago, an_hour_ago))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["file.bin"]


def test_leftovers_of_no_folder_are_none(tmp_path):
    remove_leftovers(tmp_path / "none")
