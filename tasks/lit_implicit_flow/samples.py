"""Flows of a split as batches, in training shifted at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_implicit_flow.batch import FlowBatch, FlowInput

Item = int | tuple[int, int]
"""A sample's number, or (epoch, number)."""

_SHIFTS = 3
"""The stream of the random numbers of shifts; those of splits are smaller."""


@dataclass(frozen=True)
class Scales:
    """The fixed numbers by which fields are divided before a network sees them.

    Args:
        force: Unit of forces.
        vorticity: Unit of vorticities.
    """

    force: float
    vorticity: float


class FlowSamples(Dataset[FlowBatch]):
    """The flows of a split, fetched a batch at a time.

    Shifted by whole grid points, the pair of a force and its flow is another such pair: the
    equation and its discretisation look the same from everywhere.

    Args:
        force: Forces in the units of the equation, shape `(n, 2, N, N)`.
        vorticity: Their flows, shape `(n, N, N)`; None where nobody knows them.
        nu: Viscosity.
        scales: Units of forces and vorticities.
        shift_seed: Shift each sample at random, as a function of (this seed, epoch, number); None
            shifts none.
        names: Names of the samples' files.
    """

    def __init__(
        self,
        force: Tensor,
        vorticity: Tensor | None,
        nu: float,
        scales: Scales,
        *,
        shift_seed: int | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self.force = force / scales.force
        self.vorticity = None if vorticity is None else vorticity / scales.vorticity
        self.nu, self.scales = nu, scales
        self.shift_seed, self.names = shift_seed, tuple(names)

    def __len__(self) -> int:
        return len(self.force)

    def __getitem__(self, item: Item) -> FlowBatch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> FlowBatch:
        """Return one batch: what torch's loader calls where it finds it."""
        pairs = [item if isinstance(item, tuple) else (0, item) for item in items]
        index = torch.tensor([number for _, number in pairs])
        force = self.force[index]
        target = None if self.vorticity is None else self.vorticity[index][:, None]
        if self.shift_seed is not None:
            shifts = torch.stack([self._shift(*pair) for pair in pairs])
            force = shifted(force, shifts)
            target = None if target is None else shifted(target, shifts)
        scales = self.scales
        numbers = (self.nu, scales.force, scales.vorticity)
        x = FlowInput(force, *(force.new_full((len(items),), number) for number in numbers))
        names = tuple(self.names[i] for i in index.tolist()) if self.names else ()
        return FlowBatch(x, target, index, repeats=self.shift_seed is None, names=names)

    def _shift(self, epoch: int, number: int) -> Tensor:
        assert self.shift_seed is not None
        draws = np.random.default_rng((self.shift_seed, _SHIFTS, epoch, number))
        return torch.from_numpy(draws.integers(self.force.shape[-1], size=2))


def shifted(fields: Tensor, shifts: Tensor) -> Tensor:
    """Shift periodic fields by whole points, each by its own.

    Args:
        fields: Shape `(n, channels, N, N)`.
        shifts: Points along x and y, shape `(n, 2)`, integers: `torch.roll` by them.
    """
    n, channels, side, _ = fields.shape
    points = torch.arange(side, device=fields.device)
    rows, columns = ((points - shifts[:, axis, None]) % side for axis in (0, 1))
    sample = torch.arange(n, device=fields.device)[:, None, None, None]
    channel = torch.arange(channels, device=fields.device)[None, :, None, None]
    return fields[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
