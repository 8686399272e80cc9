"""Linear programs in units in which costs, bounds and duals are of order one, and the way back."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_implicit.layout import Ragged
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.scaling import Scaling, divided
from lit_implicit_lp.sums import norms, root, sums

_OUTLIER = 100


@dataclass(frozen=True, eq=False)
class Units:
    """Programs in units of their own, so that primal and dual have the same size in one state.

    With `s` the root mean square of a program's bounds and `k` that of its costs, the program in
    units has bounds and right-hand sides divided by `s`, costs by `k`, and the same A: then
    `y = s y_units` and `dual = k dual_units`. So the primal weight of PDHG, the ratio of the two
    units, is 1 up to what is learned. Costs and bounds above 100 times the median count as that
    much: those that stand for "never" and "none" are no measure of the others.

    Args:
        features: The programs in units.
        primal: Unit of each variable, shape `(n_variables,)`.
        dual: Unit of each constraint's dual, shape `(n_constraints,)`.
    """

    features: LPFeatures
    primal: Tensor
    dual: Tensor

    @classmethod
    def of(cls, x: LPFeatures, rounds: int, dtype: torch.dtype) -> "Units":
        """Measure a batch of programs.

        Infinite bounds do not count; right-hand sides do, where they ask for larger solutions than
        the bounds. A unit that would be zero is 1.

        Args:
            x: The programs.
            rounds: Rounds of Ruiz scaling before, as in `Scaling.of`, and after them, as in PDLP
                (arXiv:2106.04756), a last one of Pock and Chambolle's; 0 leaves A as it is.
            dtype: That of the result. Units are taken before the cast.
        """
        scaling = Scaling.of(x, rounds, pock_chambolle=True) if rounds else None
        x = scaling.features if scaling else x
        variables, constraints = Ragged(x.batch, x.n), Ragged(x.constraint_batch, x.n)
        bounds = torch.stack([x.lower, x.upper], dim=-1)
        finite = bounds.isfinite()
        bounds = torch.where(finite, bounds, 0.0).abs()
        # Finite bounds of huge size stand for "none" too.
        usual = _OUTLIER * _median(
            bounds.detach().flatten(), Ragged(x.batch.repeat_interleave(2), x.n)
        )
        bounds = bounds.minimum(usual[x.batch, None])
        size = _root_mean_square(variables.dot(bounds, bounds), finite.sum(-1), variables)
        reach = x.b / norms(x.edge_index[0], len(x.b), x.coefficients, empty=1.0)
        needed = _root_mean_square(
            constraints.dot(reach, reach), torch.ones_like(x.constraint_batch), constraints
        )
        size = torch.maximum(size, needed)
        size = torch.where(size > 0, size, 1.0)
        usual = x.c.abs().minimum(_OUTLIER * _median(x.c.detach().abs(), variables)[x.batch])
        cost = _root_mean_square(variables.dot(usual, usual), torch.ones_like(x.batch), variables)
        cost = torch.where(cost > 0, cost, 1.0)
        primal, dual = size[x.batch], cost[x.constraint_batch]
        features = replace(
            x,
            c=(x.c / cost[x.batch]).to(dtype),
            lower=divided(x.lower, primal).to(dtype),
            upper=divided(x.upper, primal).to(dtype),
            b=(x.b / size[x.constraint_batch]).to(dtype),
            is_equality=x.is_equality.to(dtype),
            coefficients=x.coefficients.to(dtype),
        )
        if scaling:
            primal, dual = scaling.columns * primal, scaling.rows * dual
        return cls(features, primal.to(dtype), dual.to(dtype))


def _root_mean_square(squares: Tensor, counted: Tensor, layout: Ragged) -> Tensor:
    (counts,) = sums(layout.index, layout.n, counted.to(squares.dtype))
    return root(squares / counts.clamp(min=1))


def _median(sizes: Tensor, layout: Ragged) -> Tensor:
    """Return the (lower) median of each program's sizes above zero, 0 where it has none."""
    order = sizes.argsort()
    order = order[layout.index[order].argsort(stable=True)]
    counts = torch.zeros(layout.n, dtype=torch.long, device=sizes.device)
    ones = torch.ones_like(layout.index)
    total = counts.index_add(0, layout.index, ones)
    positive = counts.index_add(0, layout.index, (sizes > 0).long())
    place = total.cumsum(0) - positive + (positive - 1).clamp(min=0) // 2
    padded = torch.cat([sizes[order], sizes.new_zeros(1)])
    return torch.where(positive > 0, padded[place.clamp(max=len(sizes))], 0.0)
