"""A penalty on solves that depend on where they start: trains what the audit of starts asks for."""

from dataclasses import dataclass

import torch

from lit_implicit.adjoints import AbstractAdjoint, JacobianFree
from lit_implicit.layout import AbstractLayout, PerSample, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.regularizers import AbstractRegularizer, check_weight, generator_of_step
from lit_implicit.solvers import Solution


@dataclass(frozen=True)
class PathDifference(AbstractRegularizer):
    """Path independence: penalise |z' - z| / |z|, z' being iterated from a random start.

    z is where the solve ended, z' the end of `n_iter` plain iterations (undamped, whatever the
    solver) from a Gaussian state of its size. Where the iteration forgets its start, both are the
    fixed point, if budgets suffice; where iterates hover or end elsewhere, the penalty pulls the
    two together along the last iterations. It sees expansion wherever the iteration goes,
    `SpectralRadius` and `JacobianNorm` only where it stands. A short budget is penalised, too: that
    asks for fast convergence. Costs `n_iter` evaluations of G a step, of which `last` are
    differentiated once. Draws are a function of (seed, global step).

    It is made for `Unrolled`, best with the same `last`: the slope of z is what the adjoint gives,
    that of z' goes through `last` iterations, and where starts are forgotten the two must cancel.
    With `Implicit` they do up to the size of J^last; with `JacobianFree` the difference has the
    wrong sign, and it is refused.

    A start from which the iteration overflows costs 2, the distance of opposite states, without a
    slope; the other samples are as if it were not there.

    Args:
        weight: Factor of the mean penalty in the loss; 0 only logs it.
        n_iter: Iterations from the random start.
        last: How many of them, at the end, are differentiated.
        seed: Seed of the starts.

    Raises:
        ValueError: If `weight` is negative or not finite, `last` below 1, or `n_iter` below `last`.

    References:
        Anil et al. (2022), arXiv:2211.09961: equilibria that are independent of the path make
        better use of iterations at test time, and training from mixed starts furthers it.
    """

    weight: float
    n_iter: int = 10
    last: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self)
        if self.last < 1:
            raise ValueError(f"`PathDifference.last` must be at least 1, got {self.last}.")
        if self.n_iter < self.last:
            raise ValueError(
                f"`PathDifference.n_iter` must be at least `last`, {self.last}, got {self.n_iter}."
            )

    def check(self, adjoint: AbstractAdjoint) -> None:
        if isinstance(adjoint, JacobianFree):
            raise ValueError(
                f"`PathDifference` needs the slope of the whole solve, and `{adjoint!r}` has that "
                "of its end alone: together they would pull apart what they should join. Take "
                f"`Unrolled(last={self.last})` or `Implicit()`, or penalise by `SpectralRadius`."
            )

    def penalty(self, g: AbstractMap, solution: Solution, step: int) -> PerSample:
        layout, end = g.layout, solution.z
        generator = generator_of_step(self.seed, step, end.device)
        with torch.no_grad():
            z = random_start(layout, end, generator)
            for _ in range(self.n_iter - self.last):
                z = g(z)
        found = self._distance(g, z, end)
        sound = found.isfinite()
        if sound.all():
            return found
        # What overflowed must not enter the graph: 0 times infinity is not 0 in its gradients.
        penalty = torch.full_like(found.detach(), 2.0)
        if not sound.any():
            return penalty
        rest = self._distance(g.select(sound), layout.select(z, sound), layout.select(end, sound))
        return penalty.index_put((sound,), rest)

    def _distance(self, g: AbstractMap, z: Real, end: Real) -> PerSample:
        """Iterate from z, differentiably, and compare with the end; no number after overflow."""
        layout = g.layout
        for _ in range(self.last):
            z = g(z)
        size, squares = layout.norm(end.detach()), layout.dot(z - end, z - end)
        # The root has no slope at zero, where nothing is to be done.
        distance = squares.where(squares != 0, 1.0).sqrt().where(squares != 0, 0.0)
        return distance / size.where(size > 0, 1.0)


def random_start(layout: AbstractLayout, end: Real, generator: torch.Generator) -> Real:
    """Draw a Gaussian state as large as `end`, sample by sample.

    Args:
        layout: Layout of the state.
        end: A state. Where its size is 0 or not finite, 1 is taken.
        generator: Source of the numbers, on any device; the same on all devices if it is a CPU's.

    Returns:
        A state like `end`.
    """
    size = layout.norm(end)
    drawn = torch.randn(
        end.shape, generator=generator, dtype=torch.float32, device=generator.device
    ).to(end)
    # Where the size is 0 or unknown, 1 is as good as any.
    wanted = size.where(size.isfinite() & (size > 0), torch.ones_like(size))
    scale = wanted / layout.norm(drawn).clamp(min=torch.finfo(size.dtype).tiny)
    return drawn * layout.spread(scale, drawn).to(drawn.dtype)
