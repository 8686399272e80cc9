"""How much a direction proves: that a program has no feasible point, or no end."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import widest
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.sums import sums

TOLERANCE = 1e-4
"""Largest violation of a certificate, relative to its value."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """How much a direction proves, each of shape `(n,)`, for a direction of largest entry 1.

    Args:
        value: What the direction gains; nothing is proved unless it is positive.
        violation: 2-norm by which the direction misses a proof: in the program's own units, or that
            of rows (of columns) divided by their lengths, relative to what they would be if no
            terms cancelled, as the value is; whichever is more. The first alone depends on units:
            where costs are in cents, any direction would gain a lot.
    """

    value: Tensor
    violation: Tensor

    def holds(self, tolerance: float = TOLERANCE) -> Tensor:
        """Return where there is a proof up to `tolerance`: boolean, `(n,)`. False for NaN."""
        return (self.value > 0) & (self.violation <= tolerance * self.value)


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
        for large-scale linear programming, arXiv:2102.04592: differences of iterates, and iterates
        divided by their number, converge to certificates.
    """
    d = project_dual(x, direction.to(widest(x, direction)))
    r = (matrix.mT @ d[:, None])[:, 0]
    return farkas_certificate(x, d, r, lengths or Lengths.of(matrix), tolerance)


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
    w = project_primal(x, direction.to(widest(x, direction)))
    change = (matrix @ w[:, None])[:, 0]
    return ray_certificate(x, w, change, lengths or Lengths.of(matrix))


def project_dual(x: LPFeatures, direction: Tensor) -> Tensor:
    """Return dual directions with the signs of multipliers, the largest entry 1: `(..., nodes)`."""
    d = torch.where(x.is_equality.bool(), direction, direction.clamp(min=0))
    return _unit(d, x.constraint_batch, x.n)


def project_primal(x: LPFeatures, direction: Tensor) -> Tensor:
    """Return primal directions that leave no finite bound, the largest entry 1: `(..., nodes)`."""
    w = torch.where(x.lower.isfinite(), direction.clamp(min=0), direction)
    w = torch.where(x.upper.isfinite(), w.clamp(max=0), w)
    return _unit(w, x.batch, x.n)


def farkas_certificate(
    x: LPFeatures, d: Tensor, r: Tensor, lengths: Lengths, tolerance: float = TOLERANCE
) -> Certificate:
    """Return what `farkas` does, given the projected directions d and `r = A'd`: `(..., nodes)`."""
    bound = torch.where(r > 0, x.lower, x.upper)
    taken = bound.isfinite() & (bound * r.sign() >= -1 / tolerance)
    gain, terms = torch.where(taken, bound, 0.0) * r, x.b * d
    left = torch.where(taken, 0.0, r)
    gains, all_gains, left_2, scaled_2 = sums(
        x.batch, x.n, gain, gain.abs(), left.square(), (left / lengths.columns).square()
    )
    b_d, all_b_d, size_2 = sums(
        x.constraint_batch, x.n, terms, terms.abs(), (lengths.scaled_rows * d).square()
    )
    return _certificate(gains - b_d, all_gains + all_b_d, left_2, scaled_2, size_2)


def ray_certificate(x: LPFeatures, w: Tensor, change: Tensor, lengths: Lengths) -> Certificate:
    """Return what `ray` does, given the projected directions w and `A w`: `(..., nodes)`."""
    change = torch.where(x.is_equality.bool(), change, change.clamp(min=0))
    change_2, scaled_2 = sums(
        x.constraint_batch, x.n, change.square(), (change / lengths.rows).square()
    )
    terms = -x.c * w
    gain, all_terms, size_2 = sums(
        x.batch, x.n, terms, terms.abs(), (lengths.scaled_columns * w).square()
    )
    return _certificate(gain, all_terms, change_2, scaled_2, size_2)


def _certificate(
    value: Tensor, total: Tensor, violation_2: Tensor, scaled_2: Tensor, size_2: Tensor
) -> Certificate:
    """Count the violation in the program's units or relative to its terms, whichever is more.

    Args:
        value: The value.
        total: What it would be if no terms cancelled.
        violation_2: The square of the violation.
        scaled_2: The same once rows (columns) are divided by their lengths.
        size_2: What that would be, about, if no terms cancelled.
    """
    relative = (scaled_2 / size_2.clamp(min=torch.finfo(size_2.dtype).tiny)).sqrt()
    return Certificate(value, torch.maximum(violation_2.sqrt(), relative * total))


def _unit(direction: Tensor, owner: Tensor, n: int) -> Tensor:
    """Make the largest entry of each program's direction 1: squares of tiny steps would vanish."""
    zeros = direction.new_zeros(*direction.shape[:-1], n)
    index = owner.expand(direction.shape)
    largest = zeros.scatter_reduce(-1, index, direction.abs(), "amax")
    return direction / torch.where(largest > 0, largest, 1.0)[..., owner]
