"""The best finite iterate of each sample, which is the answer of one that fails later."""

import torch

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real

# Most iterates that are held before they are gathered into one.
_MOST = 4


class BestIterates:
    """For each sample, the iterate of least relative residual; zeros until one was finite.

    Iterates are kept by reference. Only a sample that fails needs its own, but which will is not
    known: a copy at each iteration would cost as much as Picard's step.

    Args:
        layout: How the samples lie in a state.
        z0: A state, for its shape, dtype and device.
    """

    def __init__(self, layout: AbstractLayout, z0: Real) -> None:
        self.layout, self.z0 = layout, z0
        self.ratio = torch.full((layout.n,), torch.inf, dtype=layout.norm(z0).dtype)
        self.number = torch.full((layout.n,), -1)
        self.kept: dict[int, Real] = {}

    def take(self, number: int, z: Real, ratio: PerSample, active: Mask) -> None:
        """Note an iterate and its relative residuals, shape `(n,)`, on the CPU."""
        better = ratio < self.ratio
        if better.all():
            self.ratio, self.kept = ratio, {number: z}
            self.number = torch.full_like(self.number, number)
            return
        better = better & active
        self.ratio = torch.where(better, ratio, self.ratio)
        self.number = torch.where(better, number, self.number)
        self.kept[number] = z
        needed = {*self.number[active].tolist()}
        self.kept = {k: state for k, state in self.kept.items() if k in needed}
        if len(self.kept) > _MOST:
            everyone = torch.ones_like(active)
            self.kept = {number: self.of(everyone)}
            self.number = torch.where(self.number < 0, self.number, number)

    def of(self, mask: Mask) -> Real:
        """Return a state that holds the best iterates of the samples in `mask`."""
        best = torch.zeros_like(self.z0)
        for number, state in self.kept.items():
            here = (mask & (self.number == number)).to(state.device)
            best = self.layout.where(here, state, best)
        return best

    def select(self, keep: Mask) -> "BestIterates":
        """Return the record of the samples in `keep`, shape `(n,)`, on the CPU."""
        on_device = keep.to(self.z0.device)
        part = BestIterates(self.layout.sub(on_device), self.layout.select(self.z0, on_device))
        part.ratio, part.number = self.ratio[keep], self.number[keep]
        part.kept = {k: self.layout.select(z, on_device) for k, z in self.kept.items()}
        return part
