"""Inexact gradients from a few tracked steps at the fixed point."""

from dataclasses import dataclass

from lit_implicit.adjoints.base import AbstractAdjoint, differentiate_sound
from lit_implicit.layout import Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import AbstractSolver, Solution


@dataclass(frozen=True)
class JacobianFree(AbstractAdjoint):
    """Differentiate `steps` damped iterations that start at the fixed point, and nothing before.

    One plain step is Jacobian-free backpropagation, the inverse of I - dG/dz replaced by I; more
    are phantom gradients. No backward solve; memory of `steps` graphs of G. The answer is the state
    after the steps, so it lies `steps` iterations past the solver's. Second derivatives are
    those of these steps alone, as inexact as the first.

    Args:
        steps: Tracked iterations, at least 1.
        damping: Share of the new value in each, in (0, 1].

    Raises:
        ValueError: If `steps` is below 1 or `damping` outside (0, 1].

    References:
        Fung et al. (2022), arXiv:2103.12803; Geng et al. (2021), arXiv:2111.05177.
    """

    steps: int = 1
    damping: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`JacobianFree.steps` must be at least 1, got {self.steps}.")
        if not 0 < self.damping <= 1:
            raise ValueError(f"`JacobianFree.damping` must lie in (0, 1], got {self.damping}.")

    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        return differentiate_sound(g, solver.solve(g, z0), self._differentiate)

    def _differentiate(self, g: AbstractMap, z_star: Real, keep: Mask) -> Real:
        z = z_star
        for _ in range(self.steps):
            gz = g(z)
            z = gz if self.damping == 1 else g.layout.advance(z, gz - z, self.damping)
        return z
