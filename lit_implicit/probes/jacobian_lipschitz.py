"""The local Lipschitz constant of x -> y_t(x), estimated from below by derivatives."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.derivatives import outside_inference
from lit_implicit.probes.sweeps import Sweeps
from lit_implicit.solvers import AbstractSolver
from lit_implicit.tree import map_tensors


def jacobian_slopes(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    n_iter: int,
    directions: Sequence[Tensor] | None = None,
    *,
    refine: int = 0,
    refine_at: Sequence[int] | None = None,
    solver: AbstractSolver | None = None,
    double: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return |dy_t/dx d| of each sample for one direction d, all t in one pass.

    Forward-mode differentiation carries the derivative along while Picard iteration runs: no step
    size, no cancellation, two to three times the cost of the iterates, and the memory of one of
    them. Divide by |d| for a slope. Where x is one number per sample, d = 1 gives the local
    Lipschitz constant itself; elsewhere it is an estimate from below.

    Refinement turns d towards the steepest direction at t = T by power iteration on J_T^T J_T: a
    forward sweep gives J_T d, a reverse sweep J_T^T J_T d, which at the size of d is the next
    direction. Of each sample and t, the largest of all that was measured is returned, so that more
    sweeps never give less. It stays within the leaves that d moves. Reverse sweeps compute each
    step anew: memory for T states and one graph, and the time of two to four evaluations a step.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: Says in which tensors of the input derivatives are taken (`leaves`), and how
            answers are measured: its `distance` must be a norm of their difference.
        batch: The samples.
        n_iter: Number T of iterations.
        directions: d, a tensor for each leaf, of its shape. None means ones.
        refine: Number of reverse sweeps from each t of `refine_at`; 0 measures d alone.
        refine_at: The t that d is refined at, each from d anew. None means T.
        solver: Picard iteration, damped or not; None means not.
        double: Compute in float64, on a copy of the operator where it is not in float64 already.
        seed: Seed of starts that are drawn.

    Returns:
        Sizes of the derivatives, shape `(T + 1, n)`.

    Raises:
        ValueError: If the directions do not have the shapes of the leaves, `refine` is negative,
            a t lies outside 1..T, or the solver is no Picard iteration.
        OperatorError: If G uses a function without a forward-mode derivative.

    Example:
        >>> size = jacobian_slopes(layer, objective, batch, 50, [d], refine=5)
        >>> curve = (size / d.flatten(1).norm(dim=1)).amax(1)  # L_0, ..., L_50
    """
    listed = [n_iter] if refine_at is None else list(refine_at)
    if refine < 0:
        raise ValueError(f"`jacobian_slopes.refine` must be at least 0, got {refine}.")
    if not all(1 <= t <= n_iter for t in listed):
        raise ValueError(f"`jacobian_slopes.refine_at` must lie in 1..{n_iter}, got {listed}.")
    with outside_inference():
        sweeps = Sweeps(equilibrium, objective, batch, solver, double, seed)
        given = directions or [torch.ones_like(leaf) for leaf in sweeps.leaves]
        _check(sweeps.leaves, given)
        first = [part.clone().to(leaf) for part, leaf in zip(given, sweeps.leaves, strict=True)]
        size, moved = sweeps.directions.norm(first), [bool(part.any()) for part in first]

        slopes, start = sweeps.push(first, n_iter, keep=listed if refine else ())
        for t in listed:
            d, trajectory = first, start
            for sweep in range(refine):
                u = trajectory.y[t]
                v = sweeps.distance_gradient(u, map_tensors(torch.zeros_like, u))
                back = sweeps.pull(trajectory, t, v)
                back = [part * keep for part, keep in zip(back, moved, strict=True)]
                d = sweeps.directions.of_size(back, size, otherwise=d)
                keep = [t] if sweep + 1 < refine else []
                more, trajectory = sweeps.push(d, n_iter, keep)
                slopes = torch.where(more > slopes, more, slopes)  # a NaN replaces nothing
        return slopes.to(widest_dtype(slopes.device))


def _check(leaves: Sequence[Tensor], directions: Sequence[Tensor]) -> None:
    wanted, given = ([tuple(t.shape) for t in some] for some in (leaves, directions))
    if wanted != given:
        raise ValueError(
            f"`jacobian_slopes.directions` must have the shapes of the leaves, {wanted}, got "
            f"{given}."
        )
