"""How gradients pass an equilibrium: a solve whose answer carries a gradient."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from lit_implicit.layout import Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import AbstractSolver, Solution

Differentiate = Callable[[AbstractMap, Real, Mask], Real]


class AbstractAdjoint(ABC):
    """A way to differentiate the fixed point of a map, apart from the way it is found."""

    @abstractmethod
    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        """Solve by `solver` and return a solution whose `z` carries the gradient.

        Gradients flow to all that `g` touches: parameters, context, captured tensors.
        """

    def check(self, solver: AbstractSolver) -> None:  # noqa: B027
        """Refuse a solver that it cannot train with. Default: none.

        Raises:
            ValueError: If so.
        """


def differentiate_sound(
    g: AbstractMap, solution: Solution, differentiate: Differentiate
) -> Solution:
    """Attach gradients to the samples that did not fail; the others keep a constant state.

    A failed sample must not enter a graph at all: even behind a mask, its NaN times zero is NaN in
    every shared weight.

    Args:
        g: The map.
        solution: Its solution, without gradients.
        differentiate: Called with the map and the states of the sound samples and with the mask
            that says which they are; returns their states with gradients.
    """
    failed = solution.failed
    keep = ~failed
    if not failed.any():
        return replace(solution, z=differentiate(g, solution.z, keep))
    if failed.all():
        return solution
    part = differentiate(g.select(keep), g.layout.select(solution.z, keep), keep)
    return replace(solution, z=g.layout.put(solution.z, keep, part))
