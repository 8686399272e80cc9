"""Labelled linear programs on disk, in chunks that are whole or absent."""

import json
import math
import os
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

import numpy as np

from lit_implicit.errors import DataError
from lit_implicit_lp.labels import CHUNK, Arrays, LabelledPrograms, LabelSettings, label_chunk
from lit_implicit_lp.progress import LateBar

MIN_SHARE = 0.01
"""Least share of candidates with a solution: below it, the search is given up."""

_SURE_AFTER = 4
"""Chunks after which the share found is believed."""


class CacheWarning(UserWarning):
    """A file of the cache was damaged and is made again."""


class LabelCache:
    """The labelled programs of one stream, made on demand and kept in a folder.

    The folder's name is a hash of all that determines its content, so that other settings never
    meet old labels. Each chunk is a function of the settings and its number, written under another
    name and then renamed: after a kill at any moment what is there is whole, and asking again makes
    only what is missing. Asking for more programs keeps those that are there.

    Args:
        root: Folder of all caches.
        settings: What is labelled.
    """

    def __init__(self, root: str | Path, settings: LabelSettings) -> None:
        self.settings = settings
        self.folder = Path(root) / settings.key()

    def ensure(self, n: int, *, drop_degenerate: bool = False, progress: str | None = None) -> int:
        """Label as many candidates as `n` programs need, on all cores.

        Args:
            n: How many programs with a solution are wanted.
            drop_degenerate: Do not count programs with more than one solution.
            progress: Title of a progress bar; None shows none.

        Returns:
            Number of chunks that were made; 0 where the cache was enough.

        Raises:
            DataError: If the folder cannot be written, or if hardly any candidate has a solution.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_settings()
            self._remove_leftovers()
            return self._ensure(n, drop_degenerate, progress)
        except OSError as err:
            raise DataError(
                f"Cannot write linear programs into {str(self.folder)!r}: {err}. "
                "Set `data.root` to a folder with room that you may write."
            ) from err

    def load(self, n: int, *, drop_degenerate: bool = False) -> LabelledPrograms:
        """Read the first `n` programs with a solution.

        Raises:
            DataError: If they are not all there: `ensure` makes them.
        """
        chunks: list[Arrays] = []
        n_found = 0
        while n_found < n:
            chunk = self._read(len(chunks))
            if chunk is None:
                raise DataError(
                    f"The cache in {str(self.folder)!r} holds {n_found} of {n} programs. Call "
                    "`prepare_data()` first; Lightning does so before `setup()`."
                )
            chunks.append(chunk)
            n_found += _n_usable(chunk, drop_degenerate)
        programs = LabelledPrograms.join(chunks)
        usable = ~programs.arrays["degenerate"] if drop_degenerate else np.ones(len(programs), bool)
        return programs.keep(usable & (np.cumsum(usable) <= n))

    def _ensure(self, n: int, drop_degenerate: bool, progress: str | None) -> int:
        n_found = n_chunks = n_made = 0
        with LateBar(progress, n) as bar:
            while n_found < n:
                n_candidates = n_chunks * CHUNK
                is_sure = n_chunks >= _SURE_AFTER
                if is_sure and n_found < MIN_SHARE * n_candidates:
                    raise DataError(self._explain(n, n_found, n_candidates))
                share = max(n_found / n_candidates, MIN_SHARE) if n_chunks else 0.5
                n_more = math.ceil((n - n_found) / (share * CHUNK))
                n_more = min(n_more, 64 if is_sure else _SURE_AFTER - n_chunks)
                for chunk, made in self._get(range(n_chunks, n_chunks + n_more)):
                    n_usable = _n_usable(chunk, drop_degenerate)
                    n_found += n_usable
                    n_made += made
                    bar.advance(n_usable, show=made)
                n_chunks += n_more
        return n_made

    def _get(self, numbers: Iterable[int]) -> Iterator[tuple[Arrays, bool]]:
        """Read chunks, and make those that are missing; say which were made."""
        missing = []
        for number in numbers:
            chunk = self._read(number)
            if chunk is None:
                missing.append(number)
            else:
                yield chunk, False
        # Threads, not processes: HiGHS releases Python's lock while it solves, and a process
        # started in the user's script would run that script again.
        pool = ThreadPoolExecutor(_n_cores())
        try:
            for done in as_completed([pool.submit(self._make, number) for number in missing]):
                yield done.result(), True
        finally:
            pool.shutdown(cancel_futures=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk_{number:05d}.npz"

    def _make(self, number: int) -> Arrays:
        chunk = label_chunk(self.settings, number)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path(number))
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        return chunk

    def _read(self, number: int) -> Arrays | None:
        path = self._path(number)
        try:
            # Opened here: where the content is no archive, numpy would leave it open.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                chunk = {name: file[name] for name in file.files}
            if chunk["status_counts"].sum() != CHUNK:
                raise ValueError("wrong number of candidates")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
            warnings.warn(
                f"{str(path)!r} is damaged ({err}) and is made again.", CacheWarning, stacklevel=5
            )
            return None
        return chunk

    def _write_settings(self) -> None:
        """Write the settings for people to read; the key in the folder's name is what counts."""
        path = self.folder / "settings.json"
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}.tmp")
            partial.write_text(json.dumps(self.settings.describe(), indent=2) + "\n")
            os.replace(partial, path)

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left; an hour, as another process may be writing right now."""
        for path in self.folder.glob("*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()

    def _explain(self, n: int, n_found: int, n_candidates: int) -> str:
        return (
            f"Only {n_found} of {n_candidates} random linear programs of `sizes` "
            f"{list(self.settings.sizes)} have a solution that counts "
            f"({n_found / n_candidates:.1%}, at least {MIN_SHARE:.0%} is needed), "
            f"{n} are wanted. Use fewer constraints, or more nonzeros per constraint."
        )


def _n_usable(chunk: Arrays, drop_degenerate: bool) -> int:
    n = len(chunk["index"])
    return n - int(chunk["degenerate"].sum()) if drop_degenerate else n


def _n_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
