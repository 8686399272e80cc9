"""The best finite iterate of each sample, which is the answer of one that fails later."""

import numpy as np
import numpy.typing as npt
import torch

from lit_implicit.layout import AbstractLayout, Real

Values = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

# Most iterates that are held before they are gathered into one.
_MOST = 4


class BestIterates:
    """For each sample, the iterate of least relative residual; zeros until one was finite.

    Iterates are kept by reference. Only a sample that fails needs its own, but which will is not
    known: a copy at each iteration would cost as much as a step of Picard's.

    Args:
        layout: How the samples lie in a state.
        z0: A state, for its shape, dtype and device.
    """

    def __init__(self, layout: AbstractLayout, z0: Real) -> None:
        self.layout, self.z0 = layout, z0
        self.ratio, self.number = np.full(layout.n, np.inf), np.full(layout.n, -1)
        self.kept: dict[int, Real] = {}

    def take(self, number: int, z: Real, ratio: Values, active: Flags) -> None:
        """Note an iterate, given NumPy arrays `(n,)`: relative residuals, and who is active."""
        better = ratio < self.ratio
        if better.all():
            self.ratio, self.kept = ratio, {number: z}
            self.number = np.full_like(self.number, number)
            return
        better &= active
        if not better.any():
            return
        self.ratio = np.where(better, ratio, self.ratio)
        self.number = np.where(better, number, self.number)
        self.kept[number] = z
        needed = {*self.number[active].tolist()}
        self.kept = {k: state for k, state in self.kept.items() if k in needed}
        if len(self.kept) > _MOST:
            self.kept = {number: self.of(active)}
            self.number = np.where(self.number < 0, -1, number)

    def of(self, mask: Flags) -> Real:
        """Return a state that holds the best iterates of the samples in `mask`, `(n,)`."""
        best = torch.zeros_like(self.z0)
        for number, state in self.kept.items():
            here = torch.as_tensor(mask & (self.number == number), device=state.device)
            best = self.layout.where(here, state, best)
        return best

    def select(self, keep: Flags) -> "BestIterates":
        """Return the record of the samples in `keep`, `(n,)`."""
        mask = torch.as_tensor(keep, device=self.z0.device)
        part = BestIterates(self.layout.sub(mask), self.layout.select(self.z0, mask))
        part.ratio, part.number = self.ratio[keep], self.number[keep]
        part.kept = {k: self.layout.select(z, mask) for k, z in self.kept.items()}
        return part
