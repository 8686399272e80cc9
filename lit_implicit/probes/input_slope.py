"""The slope of x -> G(z, x) at a fixed state, and that of x -> z*(x), by pairs of inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_implicit.layout import Real
from lit_implicit.probes.map_pairs import Pair
from lit_implicit.solvers import AbstractSolver

# A change of G by less than this many units of rounding is none.
_ROUNDING = 8
# What errors may take of the difference of two fixed points.
_ACCURACY = 1e-2


def input_slope(pair: Pair, z: Real) -> Tensor:
    """Return |G(z, x + d) - G(z, x)| / |d| in the norm of states, shape `(n,)`.

    0 where the change is lost in rounding, NaN where the pair is not valid or G not finite.
    """
    gz = pair.g(z)
    return _slope(pair, pair.moved(z) - gz, gz)


def input_slopes(pairs: Sequence[Pair], z: Real, scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Measure the slope in x at multiples s z of a state, and what these add to that at zero.

    The growth is |(G(s z, x + d) - G(s z, x)) - (G(0, x + d) - G(0, x))| / |d|. In the slope itself
    a part that is constant in z may cancel another; here there is none, so the exponent in |z| can
    be told: 1 for any G that is affine in z. The slope is at most that at zero plus the growth.

    Args:
        pairs: At least one, all of the same batch.
        z: The state.
        scales: The multiples.

    Returns:
        Slope and growth, each of shape `(n, pairs, scales)`.
    """
    g, zero = pairs[0].g, torch.zeros_like(z)
    g_zero = g(zero)
    at_zero = [pair.moved(zero) - g_zero for pair in pairs]
    slopes, growth = [], []
    for scale in scales:
        gz = g(scale * z)
        changes = [pair.moved(scale * z) - gz for pair in pairs]
        slopes.append([_slope(p, c, gz) for p, c in zip(pairs, changes, strict=True)])
        growth.append(
            [_slope(p, c - c0, gz) for p, c, c0 in zip(pairs, changes, at_zero, strict=True)]
        )
    slope, extra = (torch.stack([torch.stack(row, 1) for row in r], 2) for r in (slopes, growth))
    return slope, extra


def _slope(pair: Pair, change: Tensor, gz: Tensor) -> Tensor:
    layout = pair.g.layout
    moved, size = layout.norm(change), layout.norm(gz)
    lost = moved <= _ROUNDING * torch.finfo(gz.dtype).eps * size
    slope = torch.where(lost, 0.0, moved) / pair.size
    return slope.where(pair.valid & slope.isfinite(), torch.nan)


def solution_slope(pair: Pair, z_star: Real, factor: Tensor, solver: AbstractSolver) -> Tensor:
    """Return |z*(x + d) - z*(x)| / |d|, shape `(n,)`, where both are accurate enough for it.

    The second solve starts from the first one's answer. A state is within |G(z) - z| / (1 - factor)
    of the fixed point; where that is more than a hundredth of the difference, or no bound as G does
    not contract, the slope is NaN.

    Args:
        pair: The two problems.
        z_star: Fixed points of `pair.g`.
        factor: Contraction factor of G there, shape `(n,)`.
        solver: A solver with a tight tolerance.
    """
    answer = torch.full_like(factor, torch.nan)
    wanted = pair.valid & (factor < 1)
    if not wanted.any():
        return answer
    if not wanted.all():
        pair, z_star = pair.select(wanted), pair.g.layout.select(z_star, wanted)
    layout = pair.g.layout
    z = solver.solve(pair.moved, z_star).z
    residual = layout.norm(pair.moved(z) - z) + layout.norm(pair.g(z_star) - z_star)
    change = layout.norm(z - z_star)
    accurate = residual / (1 - factor[wanted]) <= _ACCURACY * change
    slope = torch.where(accurate, change / pair.size, torch.nan)
    return answer.index_put((wanted,), slope)
