"""Flows on disk, in chunks that are whole or absent."""

import json
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lit_implicit.errors import DataError, LitImplicitWarning
from lit_implicit.files import remove_leftovers, replace_whole
from lit_implicit_flow.chunk_file import read_chunk
from lit_implicit_flow.labels import CHUNK, N_STARTS, Arrays, FlowSettings, make_chunk
from lit_implicit_flow.steady import FlowStatus

MIN_SHARE = 0.1
"""Least share of candidates whose flow is sure: below it, the search is given up."""

_SURE_AFTER = 2
"""Chunks after which the share found is believed."""


class FlowCacheWarning(LitImplicitWarning):
    """A file of the cache was damaged and is made again."""


class FlowCache:
    """The pairs of one stream, made on demand and kept in a folder.

    The folder's name is a hash of all that determines its content. Each chunk is a function of the
    settings and its number, and is replaced whole: after a kill at any moment, asking again makes
    only what is missing. Asking for more keeps what is there.

    Args:
        root: Folder of all caches.
        settings: What is made.
    """

    def __init__(self, root: str | Path, settings: FlowSettings) -> None:
        self.settings = settings
        self.folder = Path(root) / settings.key()

    def ensure(self, n: int, *, progress: str | None = None) -> int:
        """Make as many candidates as `n` flows need.

        Args:
            n: How many flows are wanted, at least 1.
            progress: Title of a progress bar; None shows none.

        Returns:
            Number of chunks that were made; 0 where the cache was enough.

        Raises:
            DataError: If the folder cannot be used, or if the solver fails for most forces.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "settings.json"
            if not path.exists():  # for people to read
                with replace_whole(path) as file:
                    file.write(json.dumps(self.settings.describe(), indent=2).encode() + b"\n")
            remove_leftovers(self.folder)
            return self._ensure(n, progress)
        except OSError as err:
            room = max(1.0, self.settings.n_bytes(n) / 2**20)
            raise DataError(
                f"Cannot keep flows in {str(self.folder)!r}: {err}. Set `data.root` to a folder "
                f"that you may read and write, with about {room:.0f} MiB of room."
            ) from err

    def load(
        self, n: int, dtype: torch.dtype, *, whole_chunk: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read the first `n` flows.

        Args:
            n: How many.
            dtype: Precision of the fields; forces are computed in float64 all the same.
            whole_chunk: Return what else the last file holds, too.

        Returns:
            Their numbers, shape `(n,)`; forces, `(n, 2, N, N)`; vorticities, `(n, N, N)`.

        Raises:
            DataError: If they are not all there, whole and readable: `ensure` makes them.
        """
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        n_found = 0
        while n_found < n:
            path = self._path(len(parts))
            try:
                chunk = self._read(len(parts))
            except FileNotFoundError:
                raise DataError(
                    f"The cache in {str(self.folder)!r} holds {n_found} of {n} flows. Call "
                    "`prepare_data()` first; Lightning does so before `setup()`."
                ) from None
            except (OSError, ValueError) as err:
                raise DataError(
                    f"Cannot read {str(path)!r}: {err}. `prepare_data()` makes it again if it is "
                    "damaged."
                ) from err
            most = len(chunk["index"]) if whole_chunk else n - n_found
            index, w = chunk["index"][:most], chunk["vorticity"][:most]
            n_found += len(index)
            vorticity = torch.from_numpy(w)
            force = self.settings.force(vorticity, index) if len(index) else vorticity[:, None]
            force = force.expand(len(index), 2, *w.shape[1:])
            parts.append((torch.from_numpy(index), force.to(dtype), vorticity.to(dtype)))
        numbers, forces, vorticities = (torch.cat(p) for p in zip(*parts, strict=True))
        return numbers, forces, vorticities

    def _ensure(self, n: int, progress: str | None) -> int:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, console=Console(stderr=True), disable=progress is None)
        n_found = n_made = number = n_doubtful = 0
        left_out: dict[FlowStatus, list[int]] = {}
        try:
            task = bar.add_task(progress or "", total=n)
            while n_found < n:
                chunk, made = self._get(number)
                if made and not n_made:  # a bar for flows that are made, not for those read
                    bar.start()
                n_made += made
                n_found += len(chunk["index"])
                bar.update(task, completed=min(n, n_found))
                solved = chunk["status"] == FlowStatus.SOLVED
                n_doubtful += int((solved & (chunk["n_agree"] == 0)).sum())
                for place, status in enumerate(chunk["status"].tolist()):
                    if status != FlowStatus.SOLVED:
                        found = left_out.setdefault(FlowStatus(status), [])
                        found.append(number * CHUNK + place)
                number += 1
                if number >= _SURE_AFTER and n_found < MIN_SHARE * number * CHUNK:
                    raise DataError(self._explain(n, n_found, number * CHUNK))
        finally:
            if n_made:
                bar.stop()
        if n_made:
            self._tell(left_out, number * CHUNK, n_doubtful)
        return n_made

    def _tell(self, left_out: dict[FlowStatus, list[int]], n: int, n_doubtful: int) -> None:
        """Name the forces that are left out, and count those with one start alone."""
        stream = f"stream {self.settings.stream}"
        for status, numbers in left_out.items():
            rank_zero_info(
                f"{len(numbers)} of {n} forces ({stream}) are left out, {status.name}: "
                f"{_some(numbers)}."
            )
        if n_doubtful:
            rank_zero_info(
                f"{n_doubtful} of {n} flows ({stream}) were found from one start alone: from "
                f"{N_STARTS} others Newton's method led nowhere, so they may not be the only ones."
            )

    def _get(self, number: int) -> tuple[Arrays, bool]:
        """Read a chunk, or make it; say whether it was made."""
        try:
            return self._read(number), False
        except FileNotFoundError:
            pass
        except ValueError as err:
            path = str(self._path(number))
            rank_zero_warn(
                f"{path!r} is damaged ({err}) and is made again.", category=FlowCacheWarning
            )
        chunk = make_chunk(self.settings, number)
        with replace_whole(self._path(number)) as file:
            np.savez(file, allow_pickle=False, **chunk)
        return chunk, True

    def _read(self, number: int) -> Arrays:
        return read_chunk(self._path(number), self.settings, number)

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk_{number:05d}.npz"

    def _explain(self, n: int, n_found: int, n_candidates: int) -> str:
        nu, force = self.settings.nu, self.settings.rms
        return (
            f"The solver found a sure steady flow for {n_found} of {n_candidates} forces at "
            f"`data.nu` {nu} and `data.force_rms` {force}; {n} are wanted. Raise the viscosity, "
            "lower the force or raise `data.resolution`; `data.labels: exact` has pairs at any "
            "viscosity."
        )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
