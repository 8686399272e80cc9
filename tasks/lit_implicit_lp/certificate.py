"""Proofs, up to a tolerance, that a linear program has an optimum, no feasible point, or no end."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from lit_implicit.layout import Ragged
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import residuals
from lit_implicit_lp.solution import LPSolution
from lit_implicit_lp.sparse import SparseMatrix

TOLERANCE = 1e-4
"""Largest violation of a certificate, relative to its value."""


class LPVerdict(IntEnum):
    """What an answer proves about its program.

    An infeasible program may have a ray too: `UNBOUNDED` says that there is no least cost, if there
    is a feasible point at all.
    """

    OPTIMAL = 0
    INFEASIBLE = 1
    UNBOUNDED = 2
    UNDECIDED = 3


@dataclass(frozen=True, eq=False)
class Certificate:
    """How much a direction proves, each of shape `(n,)`, for a direction of largest entry 1.

    Args:
        value: What the direction gains; nothing is proved unless it is positive.
        violation: 2-norm by which the direction misses a proof, in the program's units or relative
            to the terms of the sums, whichever is more: so neither units nor row scalings make a
            proof out of nothing.
    """

    value: Tensor
    violation: Tensor

    def holds(self, tolerance: float = TOLERANCE) -> Tensor:
        """Return where there is a proof up to `tolerance`: boolean, `(n,)`. False for NaN."""
        return (self.value > 0) & (self.violation <= tolerance * self.value)


@dataclass(frozen=True, eq=False)
class Lengths:
    """2-norms of the rows and the columns of A: all that certificates need of it but products.

    Args:
        rows: Length of each row, shape `(n_constraints,)`.
        columns: Length of each column, shape `(n_variables,)`.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, matrix: SparseMatrix) -> "Lengths":
        """Measure a matrix; about the cost of a sweep."""
        squares = matrix.values.square()
        rows, columns = (squares.new_zeros(len(m.starts) - 1) for m in (matrix, matrix.mT))
        return cls(
            rows.index_add(0, matrix.rows, squares).sqrt(),
            columns.index_add(0, matrix.columns, squares).sqrt(),
        )


@torch.no_grad()
def farkas(
    x: LPFeatures,
    matrix: SparseMatrix,
    direction: Tensor,
    lengths: Lengths | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Say how far a dual direction proves that there is no feasible point.

    Let d be the direction, its entries for `<=` clipped at 0, and `r = A'd`. Over the box, `r'y` is
    at least `l'r+ - u'r-`, and every feasible y has `r'y <= b'd`; so a positive
    `value = l'r+ - u'r- - b'd` is a contradiction. Where the bound that is needed is infinite, r
    itself is the violation; also where the bound is finite but would cost more than
    `1 / tolerance` per unit of r. What holds, then, rules out all points of norm up to
    `1 / tolerance`, and all others where the violation is 0.

    Args:
        x: The programs.
        matrix: Their A.
        direction: As the difference of two dual iterates, shape `(n_constraints,)`.
        lengths: `Lengths.of(matrix)`, where it is known.
        tolerance: That of `Certificate.holds`.

    References:
        Applegate, Diaz, Lu, Lubin (2021), Infeasibility detection with primal-dual hybrid gradient
        for large-scale linear programming, arXiv:2102.04592: differences of iterates converge to
        certificates.
    """
    d = project_dual(x, direction.to(_dtype(x, direction)))
    return _farkas(x, d, (matrix.mT @ d[:, None])[:, 0], lengths or Lengths.of(matrix), tolerance)


@torch.no_grad()
def ray(
    x: LPFeatures, matrix: SparseMatrix, direction: Tensor, lengths: Lengths | None = None
) -> Certificate:
    """Say how far a primal direction proves that costs fall without end from any feasible point.

    The direction w is clipped at 0 from the side of each finite bound. Its value is `-c'w`, its
    violation the norm of what `A w` gains (for `=`, changes).

    Args:
        x: The programs.
        matrix: Their A.
        direction: As the difference of two primal iterates, shape `(n_variables,)`.
        lengths: `Lengths.of(matrix)`, where it is known.
    """
    w = project_primal(x, direction.to(_dtype(x, direction)))
    return _ray(x, w, (matrix @ w[:, None])[:, 0], lengths or Lengths.of(matrix))


@torch.no_grad()
def verdict(
    x: LPFeatures,
    matrix: SparseMatrix,
    answer: LPSolution,
    rtol: float = TOLERANCE,
    lengths: Lengths | None = None,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Judge an answer: an `LPVerdict` per program, shape `(n,)`, int64.

    Optimal if the worst of the three residuals of `kkt` is at most `rtol`; else infeasible or
    unbounded if bounds cross, or if a direction proves it: the last step, or the iterate itself,
    which is the sum of all steps from a start near 0 and often the clearer one; else undecided.
    Cost: two sweeps of width 3, and about two more of width 1 where `lengths` is
    not given.

    Args:
        x: The programs.
        matrix: Their A.
        answer: The answer to be judged.
        rtol: Largest relative residual of an optimal pair.
        lengths: `Lengths.of(matrix)`, where it is known.
        tolerance: Largest violation of a certificate, relative to its value.
    """
    dtype = _dtype(x, answer.primal)
    y, dual = answer.primal.to(dtype), answer.dual.to(dtype)
    rays = [project_primal(x, w.to(dtype)) for w in (answer.primal_step, y)]
    duals = [project_dual(x, d.to(dtype)) for d in (answer.dual_step, dual)]
    products = matrix @ torch.stack([y, *rays], dim=-1)
    transposed = matrix.mT @ torch.stack([dual, *duals], dim=-1)
    lengths = lengths or Lengths.of(matrix)

    optimal = residuals(x, y, products[:, 0], dual, transposed[:, 0]).worst <= rtol
    crossing = (x.lower > x.upper).to(dtype)
    crossed = _sums(Ragged(x.batch, x.n), crossing) > 0
    infeasible, unbounded = crossed, torch.zeros_like(crossed)
    for i, (d, w) in enumerate(zip(duals, rays, strict=True), 1):
        proof = _farkas(x, d, transposed[:, i], lengths, tolerance)
        infeasible = infeasible | proof.holds(tolerance)
        unbounded = unbounded | _ray(x, w, products[:, i], lengths).holds(tolerance)
    found = torch.full((x.n,), LPVerdict.UNDECIDED.value, device=y.device)
    found = found.masked_fill(unbounded, LPVerdict.UNBOUNDED.value)
    found = found.masked_fill(infeasible, LPVerdict.INFEASIBLE.value)
    return found.masked_fill(optimal, LPVerdict.OPTIMAL.value)


def _farkas(x: LPFeatures, d: Tensor, r: Tensor, lengths: Lengths, tolerance: float) -> Certificate:
    variables, constraints = Ragged(x.batch, x.n), Ragged(x.constraint_batch, x.n)
    bound = torch.where(r > 0, x.lower, x.upper)
    taken = bound.isfinite() & (bound * r.sign() >= -1 / tolerance)
    gain = torch.where(taken, bound, 0.0) * r
    terms = x.b * d
    value = _sums(variables, gain) - _sums(constraints, terms)
    total = _sums(variables, gain.abs()) + _sums(constraints, terms.abs())
    left = variables.norm(torch.where(taken, 0.0, r))
    return _certificate(value, left, total, constraints.norm(lengths.rows * d))


def _ray(x: LPFeatures, w: Tensor, change: Tensor, lengths: Lengths) -> Certificate:
    variables, constraints = Ragged(x.batch, x.n), Ragged(x.constraint_batch, x.n)
    change = torch.where(x.is_equality.bool(), change, change.clamp(min=0))
    terms = x.c * w
    total = _sums(variables, terms.abs())
    size = variables.norm(lengths.columns * w)
    return _certificate(-_sums(variables, terms), constraints.norm(change), total, size)


def _certificate(value: Tensor, violation: Tensor, total: Tensor, size: Tensor) -> Certificate:
    """Count the violation in the program's units, or relative to its terms if that is more.

    Args:
        value: The value in the program's units.
        violation: The violation in the program's units.
        total: What the value would be if no terms cancelled.
        size: What the violation would be, about, if no terms cancelled.
    """
    tiny = torch.finfo(size.dtype).tiny
    return Certificate(value, violation * (total / size.clamp(min=tiny)).clamp(min=1))


def project_dual(x: LPFeatures, direction: Tensor) -> Tensor:
    """Return a dual direction with the signs of multipliers, its largest entry 1."""
    d = torch.where(x.is_equality.bool(), direction, direction.clamp(min=0))
    return _unit(d, x.constraint_batch, x.n)


def project_primal(x: LPFeatures, direction: Tensor) -> Tensor:
    """Return a primal direction that leaves no finite bound, its largest entry 1."""
    w = torch.where(x.lower.isfinite(), direction.clamp(min=0), direction)
    w = torch.where(x.upper.isfinite(), w.clamp(max=0), w)
    return _unit(w, x.batch, x.n)


def _unit(direction: Tensor, owner: Tensor, n: int) -> Tensor:
    """Make the largest entry of each program's direction 1: squares of tiny steps would vanish."""
    largest = direction.new_zeros(n).scatter_reduce(0, owner, direction.abs(), "amax")
    return direction / torch.where(largest > 0, largest, 1.0)[owner]


def _sums(layout: Ragged, values: Tensor) -> Tensor:
    return values.new_zeros(layout.n).index_add(0, layout.index, values)


def _dtype(x: LPFeatures, y: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(x.c.dtype, x.b.dtype), y.dtype)
