"""The best finite iterate of each sample, which is the answer of one that fails later."""

import numpy as np
import numpy.typing as npt

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import State
from lit_implicit.solvers.host import HostRows, algebra_of

Values = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

# Most iterates that are held before they are gathered into one.
_MOST = 2


class BestIterates:
    """For each sample, the iterate of least relative residual; zeros until one was finite.

    Iterates are kept by reference. Only a sample that fails needs its own, but which will is not
    known: a copy at each iteration would cost as much as a step of Picard's.

    Args:
        layout: How the samples lie in a state.
        z0: A state, for its shape, dtype and device.
    """

    numbers: npt.NDArray[np.int64] | None

    def __init__(self, layout: AbstractLayout | HostRows, z0: State) -> None:
        self.layout, self.algebra, self.z0 = layout, algebra_of(layout), z0
        self.ratio, self.numbers = np.full(layout.n, np.inf), np.full(layout.n, -1)
        self.kept: dict[int, State] = {}

    def take(self, number: int, z: State, ratio: Values, active: Flags) -> None:
        """Note an iterate, given NumPy arrays `(n,)`: relative residuals, and who is active."""
        better = ratio < self.ratio
        if better.all():
            self.take_all(number, z, ratio)
            return
        better &= active
        if not better.any():
            return
        self.ratio = np.where(better, ratio, self.ratio)
        self.numbers = np.where(better, number, self.number)
        self.kept[number] = z
        needed = {*self.numbers[active].tolist()}
        self.kept = {k: state for k, state in self.kept.items() if k in needed}
        if len(self.kept) > _MOST:
            self.kept = {number: self.of(active)}
            self.numbers = np.where(self.numbers < 0, -1, number)

    def take_all(self, number: int, z: State, ratio: Values) -> None:
        """Note an iterate that is the best of all samples."""
        self.ratio, self.kept, self.numbers = ratio, {number: z}, None

    @property
    def number(self) -> npt.NDArray[np.int64]:
        """The number of the best iterate of each sample, `(n,)`; -1 where there is none."""
        if self.numbers is None:  # the one that is kept is everybody's
            (number,) = self.kept
            self.numbers = np.full(len(self.ratio), number)
        return self.numbers

    def of(self, mask: Flags) -> State:
        """Return a state that holds the best iterates of the samples in `mask`, `(n,)`."""
        best = self.algebra.zeros_like(self.z0)
        numbers = self.number
        for number, state in self.kept.items():
            here = self.algebra.flags(mask & (numbers == number), state)
            best = self.layout.where(here, state, best)
        return best

    def select(self, keep: Flags) -> "BestIterates":
        """Return the record of the samples in `keep`, `(n,)`."""
        mask = self.algebra.flags(keep, self.z0)
        part = BestIterates(self.layout.sub(mask), self.layout.select(self.z0, mask))
        part.ratio, part.numbers = self.ratio[keep], self.number[keep]
        part.kept = {k: self.layout.select(z, mask) for k, z in self.kept.items()}
        return part
