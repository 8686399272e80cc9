"""What the audit runs: from the model's own start, from random ones, in other batches."""

from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import FixedPointMap
from lit_implicit.path_difference import random_start
from lit_implicit.solvers import AbstractSolver, Evaluation, relative_residual


class LongRun(NamedTuple):
    """A run of T iterations from the model's own start.

    Args:
        errors: Task error of each sample at t = 0..T, shape `(n, T + 1)`.
        residuals: |G(z_t) - z_t| of each sample, of the same shape, in units of the state.
        ratios: The same relative to |G(z_t)|.
        z: The last state, z_T.
        early: The states at t = 0, t = 1 and the training depth.
    """

    errors: Tensor
    residuals: Tensor
    ratios: Tensor
    z: Tensor
    early: list[Tensor]


def long_run(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    bound: tuple[FixedPointMap, Tensor],
    solver: AbstractSolver,
    depth: int,
    n_iter: int,
) -> LongRun:
    """Iterate from the model's own start, with no stop, and read an answer at each t.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: The problem.
        batch: Its batch.
        bound: The map and the start, `equilibrium.bind(x)`.
        solver: The iteration.
        depth: The training depth.
        n_iter: Number T of iterations.
    """
    g, z0 = bound
    errors, residuals, ratios, early = [], [], [], []
    z = z0
    for t, (z, gz) in enumerate(islice(solver.iterates(g, z0), n_iter + 1)):
        errors.append(objective.error(equilibrium.operator.decode(z, g.c), batch))
        at = Evaluation(g.layout, z, gz)
        residuals.append(at.residual_norm)
        ratios.append(at.relative_residual)
        if t in (0, 1, depth):
            early.append(z)
    return LongRun(
        torch.stack(errors, 1), torch.stack(residuals, 1), torch.stack(ratios, 1), z, early
    )


def run_from_random(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    g: FixedPointMap,
    end: Real,
    solver: AbstractSolver,
    n_iter: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Iterate from a Gaussian start of the size of `end`, sample by sample.

    Args:
        equilibrium: The model.
        objective: The problem.
        batch: Its batch.
        g: The map.
        end: Where the run from the model's own start ended.
        solver: The iteration.
        n_iter: Number T of iterations.
        generator: Source of the start, on the CPU: all devices start alike.

    Returns:
        The relative distances |z_t - end| / |end| at t = 0..T, shape `(n, T + 1)`, infinite where a
        state is not finite; and the task error at T, shape `(n,)`.
    """
    layout, z0 = g.layout, random_start(g.layout, end, generator)
    distances, z = [], z0
    for z, _ in islice(solver.iterates(g, z0), n_iter + 1):
        distances.append(_relative(layout, z, end))
    error = objective.error(equilibrium.operator.decode(z, g.c), batch)
    return torch.stack(distances, 1), error


def batch_difference(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    g: FixedPointMap,
    states: list[Tensor],
    generator: torch.Generator,
) -> Tensor | None:
    """Compare G(z_t) of each sample in this batch with G(z_t) in other batches.

    One application, at given states: a comparison of whole runs would see rounding, which depends
    on the order of sums and grows along an iteration that is no contraction. The other batches are
    two random halves and one sample alone. Each is made twice: anew, by `objective.select` and
    `encode`, and from the encoded input by `operator.select`, as solvers do when samples stop.

    Args:
        equilibrium: The model.
        objective: The problem.
        batch: Its batch.
        g: The map of the whole batch.
        states: Where to compare.
        generator: Source of the halves, on the CPU.

    Returns:
        The largest relative difference of each sample, shape `(n,)`; infinite where G is finite in
        one batch only. None for a batch of one sample, or where the task cannot select samples.
    """
    n = g.layout.n
    if n < 2:
        return None
    half = torch.zeros(n, dtype=torch.bool)
    half[torch.randperm(n, generator=generator)[: n // 2]] = True
    half = half.to(states[0].device)
    alone = half & (half.cumsum(0) == 1)
    worst = torch.zeros_like(g.layout.norm(states[0]))
    images = [g(z) for z in states]
    for keep in (half, ~half, alone):
        try:
            some, part = objective.select(batch, keep), g.select(keep)
        except TypeError:  # what `select_samples` says of a task that must define `select`
            return None
        anew, _ = equilibrium.bind(objective.inputs(some), seed=0)
        parts = [anew, part]
        for z, gz in zip(states, images, strict=True):
            here = g.layout.select(gz, keep)
            for part in parts:
                there = part(g.layout.select(z, keep))
                worst[keep] = worst[keep].maximum(_relative(part.layout, there, here))
    return worst


def _relative(layout: AbstractLayout, a: Real, b: Real) -> Tensor:
    """|a - b| / |b| of each sample: infinite where one of them is not finite, 0 where both."""
    ratio = relative_residual(layout.norm(a - b), layout.norm(b))
    both = ~layout.norm(a).isfinite() & ~layout.norm(b).isfinite()
    return ratio.nan_to_num(torch.inf, torch.inf).where(~both, torch.zeros_like(ratio))
