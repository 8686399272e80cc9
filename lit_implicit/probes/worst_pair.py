"""The local Lipschitz constant of x -> y_t(x), estimated from below by pairs made worse."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.derivatives import outside_inference
from lit_implicit.probes.directions import Leaves
from lit_implicit.probes.sweeps import Sweeps, Trajectory
from lit_implicit.solvers import AbstractSolver


def worst_pair_slopes(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    at: Sequence[int] = (1, 5, 20),
    n_steps: int = 20,
    *,
    directions: Sequence[Sequence[Tensor]] | None = None,
    radius: float = 10.0,
    solver: AbstractSolver | None = None,
    double: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return the steepest |y_t(a + d) - y_t(a)| / |d| found near each sample, at listed t.

    Gradient ascent over the pair (a, a + d), all leaves at once, from a = x and the steepest of the
    given d. The size of d stays, and its direction follows the gradient outright, as in power
    iteration: there is no step size, and on a linear map it converges to the first singular vector.
    The point a climbs by equal steps and stays within `radius` |d| of x; with radius 0 it is x, and
    the result a local constant of x itself. What is returned was evaluated at a pair, the best
    seen: an estimate from below of the Lipschitz constant within the radius, and never less than
    that of the pairs it starts from.

    Costs about six evaluations of G (four with radius 0) for each step and iteration; memory for
    2 t states and one graph.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: Says what is perturbed (`leaves`) and how answers differ (`distance`).
        batch: The samples.
        at: The t to measure at, each on its own.
        n_steps: Steps of the ascent; 0 evaluates the given pairs.
        directions: Starts of d, each a tensor per leaf, as the differences of the objective's
            perturbed inputs. None means 1e-3 in all entries.
        radius: How far a may go from x, in units of |d|.
        solver: Picard iteration, damped or not; None means not.
        double: Compute in float64, on a copy of the operator where it is not in float64 already.
        seed: Seed of starts of the iteration that are drawn.

    Returns:
        Slopes of shape `(len(at), n)`; NaN where no start has a finite one.

    Raises:
        ValueError: If a number is negative, or the solver is no Picard iteration.

    Example:
        >>> slopes = worst_pair_slopes(layer, objective, batch, at=(1, 5, 20))
        >>> slopes.amax(1)  # L_1, L_5, L_20 from below

    References:
        Bungert, Raab, Roith, Schwinn and Tenbrinck (2021), CLIP, arXiv:2103.12531, for pairs that
        are improved by gradient ascent.
    """
    if min(at, default=0) < 0 or n_steps < 0 or not radius >= 0:
        raise ValueError(
            "`worst_pair_slopes` needs `at`, `n_steps` and `radius` of at least 0, got "
            f"{list(at)}, {n_steps} and {radius}."
        )
    with outside_inference():
        sweeps = Sweeps(equilibrium, objective, batch, solver, double, seed)
        starts = directions or [[torch.full_like(leaf, 1e-3) for leaf in sweeps.leaves]]
        starts = [
            [part.clone().to(leaf) for part, leaf in zip(start, sweeps.leaves, strict=True)]
            for start in starts
        ]
        slopes = [_Ascent(sweeps, t, starts, n_steps, radius).climb() for t in at]
        return torch.stack(slopes).to(widest_dtype(slopes[0].device))


class _Ascent:
    """The search at one t: the best slope seen, and how it is climbed."""

    def __init__(
        self, sweeps: Sweeps, t: int, starts: Sequence[Leaves], n_steps: int, radius: float
    ) -> None:
        self.sweeps, self.t, self.starts = sweeps, t, starts
        self.n_steps, self.radius = n_steps, radius
        self.space = sweeps.directions

    def climb(self) -> Tensor:
        center = self.sweeps.run(self.sweeps.leaves, self.t)
        best, d = self._steepest(center)
        size = self.space.norm(d)
        shift = [torch.zeros_like(part) for part in d]
        point = center
        for step in range(self.n_steps):
            moved = self.sweeps.run(_sum(point.leaves, d), self.t)
            if step > 0:
                best = torch.fmax(best, self._slope(point, moved, size))
            at_point, at_moved = self._gradients(point, moved)
            if self.radius > 0:
                uphill = _sum(at_point, at_moved)
                shift = self._shifted(shift, uphill, size * self.radius)
                point = self.sweeps.run(_sum(self.sweeps.leaves, shift), self.t)
            d = self.space.of_size(at_moved, size, otherwise=d)
        if self.n_steps > 0:
            moved = self.sweeps.run(_sum(point.leaves, d), self.t)
            best = torch.fmax(best, self._slope(point, moved, size))
        return best

    def _steepest(self, center: Trajectory) -> tuple[Tensor, list[Tensor]]:
        """Return the steepest of the starts, sample by sample, and its slope."""
        best, d = None, list(self.starts[0])
        for start in self.starts:
            moved = self.sweeps.run(_sum(center.leaves, start), self.t)
            slope = self._slope(center, moved, self.space.norm(start))
            if best is None:
                best = slope
                continue
            better = (slope > best) | best.isnan()
            best, d = best.where(~better, slope), self.space.where(better, start, d)
        assert best is not None
        return best, d

    def _slope(self, a: Trajectory, b: Trajectory, size: Tensor) -> Tensor:
        slope = self.sweeps.objective.distance(b.y[self.t], a.y[self.t], self.sweeps.batch) / size
        return slope.where(slope.isfinite(), torch.nan)

    def _gradients(self, a: Trajectory, b: Trajectory) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of |y_t(b) - y_t(a)| in a and in b; the first, if a may move."""
        y_a, y_b = a.y[self.t], b.y[self.t]
        at_b = self.sweeps.pull(b, self.t, self.sweeps.distance_gradient(y_b, y_a))
        if self.radius == 0:
            return [torch.zeros_like(part) for part in at_b], at_b
        return self.sweeps.pull(a, self.t, self.sweeps.distance_gradient(y_a, y_b)), at_b

    def _shifted(self, shift: Leaves, uphill: Leaves, most: Tensor) -> list[Tensor]:
        """Move by equal steps, of which half reach the border; stay inside it."""
        zero = [torch.zeros_like(part) for part in shift]
        step = self.space.of_size(uphill, 2 * most / self.n_steps, otherwise=zero)
        moved = _sum(shift, step)
        size = self.space.norm(moved)
        return self.space.scaled(moved, torch.where(size > most, most / size, 1.0))


def _sum(a: Leaves, b: Leaves) -> list[Tensor]:
    return [one + other for one, other in zip(a, b, strict=True)]
