"""Where pairs of force and flow come from: made on the spot and kept, or FNO-DEQ's files."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_implicit_flow import fno_deq
from lit_implicit_flow.cache import FlowCache
from lit_implicit_flow.equation import best_viscosity, force_of, relative_residual
from lit_implicit_flow.forces import in_parts, sound_forces
from lit_implicit_flow.labels import FlowSettings
from lit_implicit_flow.samples import Scales

STREAMS = {"train": 0, "val": 1, "test": 2}
"""Streams of the generator: no two splits share a flow."""

_PAIR_RESIDUAL = 0.1
"""Relative residual above which pairs are no steady flows at the given viscosity."""

Pairs = tuple[Tensor, Tensor, Sequence[str]]
"""Forces `(n, 2, N, N)`, vorticities `(n, N, N)`, and the names of their files, if any."""


class AbstractFlowSource(ABC):
    """Where the pairs of all splits are from."""

    @abstractmethod
    def prepare(self, splits: Sequence[str], vorticity: float | None, *, progress: bool) -> None:
        """Make what is missing on the disk.

        Args:
            splits: Their names.
            vorticity: See `scales`.
            progress: Show a bar.
        """

    @abstractmethod
    def read(self, split: str, dtype: torch.dtype) -> Pairs:
        """Return the pairs of a split.

        Raises:
            DataError: If they are missing, or cannot be read.
        """

    @abstractmethod
    def scales(self, vorticity: float | None) -> Scales:
        """Return the natural units.

        Args:
            vorticity: The unit of vorticities, where it is given.
        """


@dataclass(frozen=True)
class MadeFlows(AbstractFlowSource):
    """Flows that are made when first asked for, and kept in a folder.

    Args:
        root: Folder of all caches.
        settings: What is made; each split has a stream of its own.
        n_flows: Flows of each split.
    """

    root: str
    settings: FlowSettings
    n_flows: Mapping[str, int]

    def prepare(self, splits: Sequence[str], vorticity: float | None, *, progress: bool) -> None:
        """Make the flows of splits that are not in the cache, and one that tells the unit.

        Args:
            splits: Their names.
            vorticity: See `scales`.
            progress: Show a bar.

        Raises:
            DataError: If the cache cannot be used, or the solver fails for most forces.
        """
        wanted = {split: self.n_flows[split] for split in splits}
        if self.settings.labels == "solver" and vorticity is None:
            wanted = {"train": 1} | wanted
        for split, n in wanted.items():
            cache = self._cache(split)
            try:
                cache.ensure(n, progress=f"making flows ({split})" if progress else None)
            except (KeyboardInterrupt, SystemExit):
                rank_zero_info(
                    f"What was made is kept in {str(cache.folder)!r}: the next run goes on there."
                )
                raise

    def read(self, split: str, dtype: torch.dtype) -> Pairs:
        """Return the pairs of a split.

        Raises:
            DataError: If the cache cannot be used, or has fewer than are asked for.
        """
        _, force, vorticity = self._cache(split).load(self.n_flows[split], dtype)
        return force, vorticity, ()

    def scales(self, vorticity: float | None) -> Scales:
        """Return the natural units: functions of the law, or of the first labels of a solver.

        Args:
            vorticity: The unit of vorticities, where it is given: then no labels are read.
        """
        law = self.settings
        if law.labels == "exact":
            n = 4 * law.family.max_wavenumber + 2
            w = law.rms * law.family.draw(n, 0, 0, range(256))
            return Scales(_rms(force_of(w, law.nu)), law.rms)
        if vorticity is None:
            first = self._cache("train").load(1, torch.float64, whole_chunk=True)
            vorticity = _rms(first[2])
        return Scales(law.rms / 2**0.5, vorticity)

    def _cache(self, split: str) -> FlowCache:
        return FlowCache(self.root, replace(self.settings, stream=STREAMS[split]))


@dataclass(frozen=True)
class ReadFlows(AbstractFlowSource):
    """FNO-DEQ's examples.

    Args:
        folder: Where they are.
        frame: Which frame of each.
        stride: Every how many points are taken.
        nu: Viscosity that they are said to have.
        n_flows: Examples of each split.
    """

    folder: str
    frame: int
    stride: int
    nu: float
    n_flows: Mapping[str, int]

    def prepare(self, splits: Sequence[str], vorticity: float | None, *, progress: bool) -> None:
        """Make nothing."""

    def read(self, split: str, dtype: torch.dtype) -> Pairs:
        """Return the pairs of a split, and say what they leave in the equation.

        Raises:
            DataError: If files are missing, or hold anything but such pairs.
        """
        chosen = fno_deq.examples_of(self.folder, split, self.n_flows)
        force, vorticity = fno_deq.read_examples(chosen, self.frame, self.stride, dtype)
        where = f"`data.folder` ({split})"
        force = sound_forces(force, where)
        left = float(
            in_parts(lambda w, f: relative_residual(w, f, self.nu), vorticity, force).median()
        )
        told = (
            f"{where}: at `data.nu` {self.nu:g} the pairs leave a relative residual of {left:.2g} "
            "in the equation (median)."
        )
        if left > _PAIR_RESIDUAL:
            best = float(in_parts(best_viscosity, vorticity, force).median())
            told += f" They fit best with {best:.2g}: is `data.nu` that of these data?"
        rank_zero_info(told)
        return force, vorticity, [path.name for path in chosen]

    def scales(self, vorticity: float | None) -> Scales:
        """Return the paper's units."""
        return fno_deq.SCALES


def _rms(field: Tensor) -> float:
    """Return the root mean square to four digits: the same on all machines."""
    return float(f"{float(field.square().mean().sqrt()):.4g}")
