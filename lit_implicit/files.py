"""Files that are whole or absent, whatever happens while they are written."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".tmp"
"""Ending of the names of temporary files."""


@contextmanager
def replace_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file that takes the place of `path` at once, or not at all.

    The block writes into a temporary file of the same folder; at its end the content is forced onto
    the disk and the file renamed. After a kill, a full disk or a power cut at any moment, `path` is
    what it was before or what it should be, never a part of it. Processes and threads that write
    the same path at once do not disturb each other: the last one's content stays.

    An error in the block, whichever it is, removes the temporary file; only a kill leaves it, for
    `remove_leftovers`. A new file gets the permissions of any other; a link is replaced, what it
    leads to stays.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        A file open for writing bytes.

    Raises:
        OSError: If it cannot be written; the error names `path`, not the temporary file.
    """
    path = Path(path)
    # Not `tempfile`: its files are their owner's alone, and a cache may be shared by a group.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as err:
        with suppress(OSError):
            partial.unlink()
        if isinstance(err, OSError) and err.errno and err.filename in (None, str(partial)):
            raise OSError(err.errno, err.strerror, str(path)) from err
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: str | os.PathLike[str], *, older_than_s: float = 3600.0) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Args:
        folder: The folder; one that cannot be read is left alone.
        older_than_s: Seconds since a file was last written to; another process may be writing a
            younger one right now.
    """
    with suppress(OSError):
        for path in Path(folder).glob(f"*{SUFFIX}"):
            with suppress(OSError):  # gone, or not ours to remove
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Force a rename onto the disk, where folders can be synced; the content is there already."""
    with suppress(OSError):  # Windows opens no folders, some network file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
