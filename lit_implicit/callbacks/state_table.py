"""States of samples by key, in one buffer of rows: as many as the state of each sample has."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_implicit.errors import ConfigError, ObjectiveError
from lit_implicit.layout import AbstractLayout

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BYTES_PER_KEY = 18  # first row, number of rows, two marks


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a state: who they are, and which rows are whose.

    On the host, so that no kernel waits for an index.

    Args:
        keys: Key of each sample, shape `(n,)`.
        owner: Sample of each row, shape `(rows,)`, with values in `0..n-1`.
    """

    keys: Numbers
    owner: Numbers

    @classmethod
    def of(cls, keys: Numbers, layout: AbstractLayout, z: Tensor) -> "Samples":
        """Return the samples of a state z."""
        owner = layout.spread(torch.arange(layout.n, device=z.device), z).flatten()
        return cls(keys, owner.cpu().numpy())

    @property
    def sizes(self) -> Numbers:
        """Rows of each sample, shape `(n,)`."""
        return np.bincount(self.owner, minlength=len(self.keys))

    def select(self, keep: Mask) -> "Samples":
        """Return those in `keep`, as `AbstractLayout.select` does for their rows."""
        number = keep.cumsum() - 1
        return Samples(self.keys[keep], number[self.owner[keep[self.owner]]])

    def is_first(self) -> Mask:
        """Tell which samples are the first of their key, shape `(n,)`: one may be drawn twice."""
        first = np.zeros(len(self.keys), np.bool_)
        first[np.unique(self.keys, return_index=True)[1]] = True
        return first


class StateTable:
    """The last state of each sample.

    States are added as samples are first seen; one that is forgotten keeps its room. The memory is
    that of the rows seen, and 18 bytes for each key up to the largest; half as much again, at most,
    is reserved ahead.

    Args:
        device: Where the states are kept.
        max_bytes: Most memory that they may need.
    """

    def __init__(self, device: torch.device, max_bytes: int) -> None:
        self.device, self.max_bytes = device, max_bytes
        self._starts: Numbers = np.zeros(0, np.int64)  # first row of each key, -1 if it has none
        self._sizes: Numbers = np.zeros(0, np.int64)
        self._sound: Mask = np.zeros(0, np.bool_)  # keys whose state may be used
        self._fresh: Mask = np.zeros(0, np.bool_)  # keys changed since the last `changes`
        self._rows: Tensor | None = None
        self._n_keys = self._n_rows = 0  # in use; the arrays have some room to grow

    def read(self, samples: Samples, z: Tensor) -> tuple[Mask, Tensor]:
        """Return which samples have a state, shape `(n,)`, and the rows of these.

        Args:
            samples: Who is asked for.
            z: A state of theirs, of which the rows take dtype and device.

        Raises:
            ConfigError: If the rows of a state have not the shape that they had.
            ObjectiveError: If a sample has not the number of rows that it had.
        """
        self._admit(samples, z)
        known = self._sound[samples.keys]
        if self._rows is None:
            return known, z[:0]
        places = self._places(samples)[known[samples.owner]]
        return known, self._rows[torch.from_numpy(places).to(self.device)].to(z)

    def write(self, samples: Samples, rows: Tensor) -> None:
        """Keep the states of samples with different keys.

        Raises:
            ConfigError, ObjectiveError: As `read`; or if there is no room left.
        """
        self._admit(samples, rows)
        keys, sizes = samples.keys, samples.sizes
        new = self._starts[keys] < 0
        ends = self._n_rows + sizes[new].cumsum()
        self._starts[keys[new]], self._sizes[keys[new]] = ends - sizes[new], sizes[new]
        self._n_rows += int(sizes[new].sum())
        places = torch.from_numpy(self._places(samples)).to(self.device)
        self._buffer(rows)[places] = rows.detach().to(self.device, self._buffer(rows).dtype)
        self._sound[keys] = self._fresh[keys] = True

    def forget(self, keys: Numbers) -> None:
        """Keep no state of these samples."""
        self._grow_index(keys)
        self._sound[keys], self._fresh[keys] = False, True

    def state_dict(self) -> dict[str, Tensor]:
        """Return keys, sizes and states, on the CPU; nothing if there are none."""
        return self._part(self._sound)

    def changes(self) -> dict[str, Tensor]:
        """Return what was kept and forgotten since this was last asked."""
        forgotten = np.flatnonzero(self._fresh & ~self._sound)
        part = self._part(self._fresh & self._sound)
        self._fresh[:] = False
        return {**part, "forgotten": torch.from_numpy(forgotten)}

    def update(self, part: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` or `changes` returned, here or in another process."""
        if "forgotten" in part:
            self.forget(part["forgotten"].numpy())
        if "keys" in part:
            keys, sizes = part["keys"].numpy(), part["sizes"].numpy()
            self.write(Samples(keys, np.repeat(np.arange(len(keys)), sizes)), part["states"])
        self._fresh[:] = False

    def _part(self, wanted: Mask) -> dict[str, Tensor]:
        keys = np.flatnonzero(wanted)
        if self._rows is None or not len(keys):
            return {}
        sizes = self._sizes[keys]
        places = self._places(Samples(keys, np.repeat(np.arange(len(keys)), sizes)))
        states = self._rows[torch.from_numpy(places).to(self.device)].cpu()
        return {"keys": torch.from_numpy(keys), "sizes": torch.from_numpy(sizes), "states": states}

    def _places(self, samples: Samples) -> Numbers:
        """Return where each row of the samples lies; meaningless for samples without a state."""
        order, sizes = samples.owner.argsort(kind="stable"), samples.sizes
        within = np.empty_like(order)  # number of a row among those of its sample
        within[order] = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
        return self._starts[samples.keys][samples.owner] + within

    def _admit(self, samples: Samples, z: Tensor) -> None:
        if self._rows is not None and z.shape[1:] != self._rows.shape[1:]:
            raise ConfigError(
                "`WarmStart` needs states whose rows keep their shape, got "
                f"{tuple(z.shape[1:])} after {tuple(self._rows.shape[1:])}. Remove it, or let the "
                "operator's `layout` be a `Ragged` with a row for each entry."
            )
        self._grow_index(samples.keys)
        had, has = self._sizes[samples.keys], samples.sizes
        if (changed := (self._starts[samples.keys] >= 0) & (had != has)).any():
            i = int(changed.argmax())
            raise ObjectiveError(
                f"The objective's `keys` must always give a sample the same key: {samples.keys[i]} "
                f"named a state of {had[i]} rows, and now one of {has[i]}. Number the samples of "
                "the training set, or remove `WarmStart`."
            )

    def _grow_index(self, keys: Numbers) -> None:
        self._n_keys, n_old = max(self._n_keys, int(keys.max(initial=-1)) + 1), len(self._starts)
        if self._n_keys <= n_old:
            return
        self._check_room(0)
        more = max(self._n_keys, n_old + n_old // 2) - n_old
        self._starts = np.append(self._starts, np.full(more, -1, np.int64))
        self._sizes = np.append(self._sizes, np.zeros(more, np.int64))
        self._sound = np.append(self._sound, np.zeros(more, np.bool_))
        self._fresh = np.append(self._fresh, np.zeros(more, np.bool_))

    def _buffer(self, like: Tensor) -> Tensor:
        """Return the buffer with room for all rows."""
        old = like[:0] if self._rows is None else self._rows
        if self._rows is None or len(old) < self._n_rows:
            row_bytes = old.element_size() * old.shape[1:].numel()
            self._check_room(self._n_rows * row_bytes)
            length = max(self._n_rows, len(old) + len(old) // 2)
            self._rows = torch.empty(length, *old.shape[1:], dtype=old.dtype, device=self.device)
            self._rows[: len(old)] = old.detach()
        return self._rows

    def _check_room(self, state_bytes: int) -> None:
        needed = self._n_keys * _BYTES_PER_KEY + state_bytes
        if needed > self.max_bytes:
            raise ConfigError(
                f"`WarmStart.max_bytes` is {self.max_bytes:,}, but {needed:,} bytes are needed "
                f"for keys up to {self._n_keys - 1:,} and the states of the samples seen so far. "
                "Give it more, number the training set's samples from 0, or remove `WarmStart`."
            )
