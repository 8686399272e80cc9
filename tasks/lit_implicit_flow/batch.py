"""A batch of flows: what the network sees of them, and the truth."""

from dataclasses import dataclass, replace
from itertools import compress

from torch import Tensor

from lit_implicit.layout import select_samples


@dataclass(eq=False)  # not frozen: Lightning moves batches by setting their fields
class FlowInput:
    """What is known of each flow: x.

    Args:
        force: Forces in units of `force_scale`, shape `(n, 2, N, N)`; the axes are (component, x,
            y). Divergence-free, of mean zero.
        viscosity: Viscosities nu, shape `(n,)`.
        force_scale: Size of a force of 1, in the units of the equation, shape `(n,)`.
        vorticity_scale: Size of an answer of 1, shape `(n,)`: networks answer w / vorticity_scale.
    """

    force: Tensor
    viscosity: Tensor
    force_scale: Tensor
    vorticity_scale: Tensor

    def physical_force(self) -> Tensor:
        """Return the forces in the units of the equation, shape `(n, 2, N, N)`."""
        return self.force * self.force_scale[:, None, None, None]

    def physical_vorticity(self, y: Tensor) -> Tensor:
        """Return answers, `(n, 1, N, N)`, as vorticities of the equation, shape `(n, N, N)`.

        Half precision of a network becomes the forces' precision.
        """
        return y[:, 0].to(self.force.dtype) * self.vorticity_scale[:, None, None]


@dataclass(eq=False)
class FlowBatch:
    """Forces, with the flows that they hold steady.

    Args:
        x: What the network may see.
        target: Vorticities in units of `x.vorticity_scale`, shape `(n, 1, N, N)`; None where nobody
            knows them.
        index: Number of each sample in its split, shape `(n,)`.
        repeats: The same number is the same sample in every epoch: false with random shifts.
        names: Name of each sample's file, where it has one.
    """

    x: FlowInput
    target: Tensor | None
    index: Tensor
    repeats: bool = False
    names: tuple[str, ...] = ()

    def select(self, keep: Tensor) -> "FlowBatch":
        """Return the flows in `keep` (`(n,)`, boolean)."""
        names = self.names and tuple(compress(self.names, keep.tolist()))
        target = None if self.target is None else self.target[keep]
        x = select_samples(self.x, keep)
        return replace(self, x=x, target=target, index=self.index[keep], names=names)
