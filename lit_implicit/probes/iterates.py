"""The iterates y_t themselves: no stop, no freeze, no best-so-far."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.solvers import AbstractSolver, Picard, relative_residual


class Iterate(NamedTuple):
    """One iterate of a batch.

    Args:
        y: The answer read off it, `decode(z_t, c)`.
        relative_residual: |G(z_t) - z_t| / |G(z_t)| of each sample, shape `(n,)`.
    """

    y: Any
    relative_residual: Tensor


def iterates(
    equilibrium: Equilibrium,
    x: Any,
    n_iter: int,
    solver: AbstractSolver | None = None,
    seed: int = 0,
) -> Iterator[Iterate]:
    """Yield the iterates t = 0..n_iter of a model for an input, y_0 being decode(z0).

    Costs `n_iter + 1` evaluations of G and as many readouts. The equilibrium's own solver and its
    tolerances play no part. Call it under `torch.no_grad()`.

    Args:
        equilibrium: The model.
        x: The input, in the form that the operator takes.
        n_iter: Number T of iterations.
        solver: The iteration; None means plain Picard iteration, z_{t+1} = G(z_t, x).
        seed: Seed of starts that are drawn, so that a measurement can be repeated and leaves the
            random numbers of training alone.
    """
    g, z0 = equilibrium.bind(x, seed=seed)
    for z, gz in islice((solver or Picard()).iterates(g, z0), n_iter + 1):
        ratio = relative_residual(g.layout.norm(gz - z), g.layout.norm(gz))
        yield Iterate(equilibrium.operator.decode(z, g.c), ratio)
