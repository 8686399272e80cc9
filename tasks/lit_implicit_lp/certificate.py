"""Verdicts on answers: that a linear program has an optimum, no feasible point, or no end."""

from enum import IntEnum

import torch
from torch import Tensor

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import residuals, widest
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.proofs import (
    TOLERANCE,
    farkas_certificate,
    project_dual,
    project_primal,
    ray_certificate,
)
from lit_implicit_lp.solution import LPSolution
from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.sums import sums


class LPVerdict(IntEnum):
    """What an answer proves about its program.

    An infeasible program may have a ray too: `UNBOUNDED` says that there is no least cost, if there
    is a feasible point at all.
    """

    OPTIMAL = 0
    INFEASIBLE = 1
    UNBOUNDED = 2
    UNDECIDED = 3


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
    unbounded if the last steps prove it, or the iterates themselves, which point the same way where
    they grow without end and waver less; infeasible too where bounds cross; else undecided. Cost:
    two sweeps of width 3, and about two more where `lengths` is not given.

    Args:
        x: The programs.
        matrix: Their A.
        answer: The answer to be judged.
        rtol: Largest relative residual of an optimal pair.
        lengths: `Lengths.of(matrix)`, where it is known.
        tolerance: Largest violation of a certificate, relative to its value.
    """
    dtype = widest(x, answer.primal)
    y, dual = answer.primal.to(dtype), answer.dual.to(dtype)
    w = project_primal(x, torch.stack([answer.primal_step.to(dtype), y]))
    d = project_dual(x, torch.stack([answer.dual_step.to(dtype), dual]))
    products = (matrix @ torch.cat([w, y[None]]).mT).mT
    transposed = (matrix.mT @ torch.cat([d, dual[None]]).mT).mT
    lengths = lengths or Lengths.of(matrix)

    optimal = residuals(x, y, products[2], dual, transposed[2]).worst <= rtol
    (crossed,) = sums(x.batch, x.n, (x.lower > x.upper).to(dtype))
    infeasible = (
        farkas_certificate(x, d, transposed[:2], lengths, tolerance).holds(tolerance).any(0)
    )
    unbounded = ray_certificate(x, w, products[:2], lengths).holds(tolerance).any(0)
    found = torch.full((x.n,), LPVerdict.UNDECIDED.value, device=y.device)
    found = found.masked_fill(unbounded, LPVerdict.UNBOUNDED.value)
    found = found.masked_fill(infeasible | (crossed > 0), LPVerdict.INFEASIBLE.value)
    return found.masked_fill(optimal, LPVerdict.OPTIMAL.value)
