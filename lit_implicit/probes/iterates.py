"""The iterates y_t themselves: no stop, no freeze, no best-so-far."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.solvers import AbstractSolver, Picard, relative_residual

Watch = Callable[[str], AbstractContextManager[None]]


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
    watch: Watch | None = None,
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
        watch: Makes a context in which a part of the work is done, given its name: `encode`,
            `step` (an application of G with what the solver does before it) or `decode`.
    """
    watch = watch or (lambda name: nullcontext())
    with watch("encode"):
        g, z0 = equilibrium.bind(x, seed=seed)
    steps = (solver or Picard()).iterates(g, z0)
    for _ in range(n_iter + 1):
        with watch("step"):
            z, gz = next(steps)
        ratio = relative_residual(g.layout.norm(gz - z), g.layout.norm(gz))
        with watch("decode"):
            y = equilibrium.operator.decode(z, g.c)
        yield Iterate(y, ratio)


def seed_of_batch(seed: int, batch: int) -> int:
    """Return a seed of its own for each batch of each rank.

    Else all ranks would draw the same starts and directions, and measure less than they seem to.

    Args:
        seed: Seed of the measurement.
        batch: Number of the batch on this rank.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if distributed else 0
    return Random(f"{seed}, {rank}, {batch}").getrandbits(63)


def iteration_of(solver: AbstractSolver) -> str:
    """Name a solver and what changes its iterates, as `Picard(damping=0.5)`."""
    rest = ("rtol", "atol", "max_iter")  # a probe listens to none of these
    changed = [
        f"{field.name}={getattr(solver, field.name)}"
        for field in fields(solver)  # type: ignore[arg-type]
        if field.name not in rest and getattr(solver, field.name) != field.default
    ]
    return type(solver).__name__ + (f"({', '.join(changed)})" if changed else "")
