"""How far a primal-dual pair is from optimal: the three relative residuals of PDLP."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.sums import sums

_FAR = 1e4
"""A bound more than so many times 1 + |y| from zero takes up no reduced cost."""


@dataclass(frozen=True, eq=False)
class KKT:
    """The relative residuals of a primal-dual pair, each of shape `(n,)`, dimensionless.

    Args:
        primal: 2-norm of all violations of constraints and bounds, over `1 + |b|`.
        dual: 2-norm of the part of the reduced costs that no finite bound takes up, and of duals
            of the wrong sign, over `1 + |c|`.
        gap: `|p - d| / (1 + |p| + |d|)`, p the primal and d the dual objective.
    """

    primal: Tensor
    dual: Tensor
    gap: Tensor

    @property
    def worst(self) -> Tensor:
        """The largest of the three; NaN where one of them is."""
        return torch.maximum(torch.maximum(self.primal, self.dual), self.gap)


@torch.no_grad()
def kkt(x: LPFeatures, matrix: SparseMatrix, y: Tensor, dual: Tensor) -> KKT:
    """Measure how far a pair is from satisfying the optimality conditions.

    Cost: two sweeps. A positive reduced cost is taken up by a finite lower bound and a negative one
    by a finite upper bound: there it enters the dual objective, elsewhere it is a residual. So is
    one whose bound is huge (1e9, say, for "none"): times such a bound the last digit of a dual
    would be a gap. No optimal pair is judged otherwise for it, as there y lies at the bound.

    Args:
        x: The programs.
        matrix: Their A.
        y: Primal solutions, shape `(n_variables,)`.
        dual: Multipliers, shape `(n_constraints,)`, at least 0 for `<=`.

    References:
        Applegate et al. (2021), Practical large-scale linear programming using primal-dual hybrid
        gradient, arXiv:2106.04756, section 4: relative tolerances of the three residuals.
    """
    dtype = widest(x, y)
    y, dual = y.to(dtype), dual.to(dtype)
    return residuals(x, y, (matrix @ y[:, None])[:, 0], dual, (matrix.mT @ dual[:, None])[:, 0])


@torch.no_grad()
def primal_residual(x: LPFeatures, matrix: SparseMatrix, y: Tensor) -> Tensor:
    """Return `KKT.primal`, which needs no dual, of solutions y: shape `(n,)`. Cost: one sweep."""
    y = y.to(widest(x, y))
    activity = (matrix @ y[:, None])[:, 0]
    return residuals(x, y, activity, torch.zeros_like(activity), torch.zeros_like(y)).primal


def residuals(x: LPFeatures, y: Tensor, activity: Tensor, dual: Tensor, transposed: Tensor) -> KKT:
    """Return what `kkt` does, given the products `A y` and `A' dual`."""
    is_equality = x.is_equality.bool()
    excess = activity - x.b
    excess = torch.where(is_equality, excess.abs(), excess.clamp(min=0))
    wrong = torch.where(is_equality, 0.0, dual.clamp(max=0))
    excess_2, wrong_2, b_2, b_dual = sums(
        x.constraint_batch, x.n, excess.square(), wrong.square(), x.b.square(), x.b * dual
    )
    outside = (x.lower - y).clamp(min=0) + (y - x.upper).clamp(min=0)
    outside_2, c_2, y_2, value = sums(
        x.batch, x.n, outside.square(), x.c.square(), y.square(), x.c * y
    )

    reduced = x.c + transposed
    bound = torch.where(reduced > 0, x.lower, x.upper)
    reach = _FAR * (1 + y_2.sqrt())
    taken = bound.abs() <= reach[x.batch]
    left = torch.where(taken, 0.0, reduced)
    at_bounds = torch.where(taken, bound, 0.0) * reduced
    left_2, bound_value = sums(x.batch, x.n, left.square(), at_bounds)

    dual_value = bound_value - b_dual
    return KKT(
        primal=(excess_2 + outside_2).sqrt() / (1 + b_2.sqrt()),
        dual=(left_2 + wrong_2).sqrt() / (1 + c_2.sqrt()),
        gap=(value - dual_value).abs() / (1 + value.abs() + dual_value.abs()),
    )


def widest(x: LPFeatures, y: Tensor) -> torch.dtype:
    """Return the wider of the precisions of programs and of an answer to them."""
    return torch.promote_types(torch.promote_types(x.c.dtype, x.b.dtype), y.dtype)
