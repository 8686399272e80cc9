"""Labelled linear programs on disk, in chunks that are whole or absent."""

import json
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from lit_implicit.errors import DataError, LitImplicitWarning
from lit_implicit.files import remove_leftovers, replace_whole
from lit_implicit_lp.chunk_file import DamagedChunkError, read_chunk, write_chunk
from lit_implicit_lp.label_arrays import Arrays, LabelledPrograms
from lit_implicit_lp.labels import CHUNK, LabelSettings, label_chunk
from lit_implicit_lp.progress import LateBar
from lit_implicit_lp.workers import Check, exit_on_sigterm, work_on_all_cores

MIN_SHARE = 0.01
"""Least share of candidates with a solution: below it, the search is given up."""

_SURE_AFTER = 4
"""Chunks after which the share found is believed."""


class CacheWarning(LitImplicitWarning):
    """A file of the cache was damaged and is made again."""


class LabelCache:
    """The labelled programs of one stream, made on demand and kept in a folder.

    The folder's name is a hash of all that determines its content, so that other settings never
    meet old labels. Each chunk is a function of the settings and its number, and is replaced whole:
    after a kill at any moment what is there is whole, asking again makes only what is missing, and
    two runs that ask at once make the same. Asking for more programs keeps those that are there.

    Args:
        root: Folder of all caches.
        settings: What is labelled.
    """

    def __init__(self, root: str | Path, settings: LabelSettings) -> None:
        self.settings = settings
        self.folder = Path(root) / settings.key()

    def ensure(self, n: int, *, drop_degenerate: bool = False, progress: str | None = None) -> int:
        """Label as many candidates as `n` programs need, on all cores.

        Ctrl-C and SIGTERM are answered within the time of one program per core; chunks that are
        done by then are kept.

        Args:
            n: How many programs with a solution are wanted, at least 1.
            drop_degenerate: Do not count programs with more than one solution.
            progress: Title of a progress bar; None shows none.

        Returns:
            Number of chunks that were made; 0 where the cache was enough.

        Raises:
            DataError: If the folder cannot be used, or if hardly any candidate has a solution.
        """
        try:
            with exit_on_sigterm():
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write_settings()
                remove_leftovers(self.folder)
                return self._ensure(n, drop_degenerate, progress)
        except OSError as err:
            raise DataError(
                f"Cannot keep linear programs in {str(self.folder)!r}: {err}. Set `data.root` to a "
                f"folder that you may read and write, with about {self._room(n)} of room."
            ) from err

    def load(self, n: int, *, drop_degenerate: bool = False) -> LabelledPrograms:
        """Read the first `n` programs with a solution.

        Raises:
            DataError: If they are not all there, whole and readable: `ensure` makes them.
        """
        chunks: list[Arrays] = []
        n_found = 0
        while n_found < n:
            try:
                chunk = self._read(len(chunks))
            except FileNotFoundError:
                raise DataError(
                    f"The cache in {str(self.folder)!r} holds {n_found} of {n} programs. Call "
                    "`prepare_data()` first; Lightning does so before `setup()`."
                ) from None
            except (OSError, DamagedChunkError) as err:
                raise DataError(
                    f"Cannot read {str(self._path(len(chunks)))!r}: {err}. "
                    "`prepare_data()` makes it again if it is damaged."
                ) from err
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
            try:
                yield self._read(number), False
            except FileNotFoundError:
                missing.append(number)
            except DamagedChunkError as err:
                path = str(self._path(number))
                warnings.warn(
                    f"{path!r} is damaged ({err}) and is made again.", CacheWarning, stacklevel=5
                )
                missing.append(number)
        with closing(work_on_all_cores(self._make, missing)) as made:
            for chunk in made:
                yield chunk, True

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk_{number:05d}.npz"

    def _make(self, number: int, check: Check) -> Arrays:
        chunk = label_chunk(self.settings, number, check)
        write_chunk(self._path(number), chunk)
        return chunk

    def _read(self, number: int) -> Arrays:
        return read_chunk(self._path(number), self.settings, number)

    def _write_settings(self) -> None:
        """Write the settings for people to read; the key in the folder's name is what counts."""
        path = self.folder / "settings.json"
        if not path.exists():
            with replace_whole(path) as file:
                file.write(json.dumps(self.settings.describe(), indent=2).encode() + b"\n")

    def _room(self, n: int) -> str:
        return f"{max(1.0, self.settings.n_bytes(n) / 2**20):.0f} MiB"

    def _explain(self, n: int, n_found: int, n_candidates: int) -> str:
        return (
            f"Only {n_found} of {n_candidates} random linear programs of `sizes` "
            f"{list(self.settings.sizes)} have a solution that counts "
            f"({n_found / n_candidates:.1%}, at least {MIN_SHARE:.0%} is needed), "
            f"{n} are wanted. Use fewer constraints, or more nonzeros per constraint, or "
            "`data.family: row_sparse`, whose programs have a solution at every size."
        )


def _n_usable(chunk: Arrays, drop_degenerate: bool) -> int:
    n = len(chunk["index"])
    return n - int(chunk["degenerate"].sum()) if drop_degenerate else n
