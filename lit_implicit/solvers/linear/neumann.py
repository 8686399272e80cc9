"""The truncated Neumann series."""

from dataclasses import dataclass

import torch

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.linear.base import AbstractLinearSolver, Matvec
from lit_implicit.solvers.solution import Solution, Status


@dataclass(frozen=True)
class Neumann(AbstractLinearSolver):
    """Sum the first terms of u = sum_i (I - A)^i rhs: no tolerance, no stop.

    As solver of `Implicit`, with I - A = J^T, `terms=1` is Jacobian-free backpropagation and each
    further term costs one vector-Jacobian product. The answer is the finite series even where the
    infinite one diverges. It converges to the solution where the spectral radius of I - A is
    below 1; its `status` is MAX_ITER nevertheless, as nothing was tested.

    Args:
        terms: Number of terms, at least 1.

    Raises:
        ValueError: If `terms` is below 1.
    """

    terms: int = 5

    def __post_init__(self) -> None:
        if self.terms < 1:
            raise ValueError(
                f"`Neumann.terms` must be at least 1, got {self.terms}. 1 is Jacobian-free "
                "backpropagation."
            )

    @torch.no_grad()
    def solve(self, matvec: Matvec, rhs: Real, layout: AbstractLayout) -> Solution:
        previous, u = torch.zeros_like(rhs), rhs
        for _ in range(self.terms - 1):
            previous, u = u, u + rhs - matvec(u)
        # The sums are Picard iterates of u = (I - A) u + rhs from zero.
        ratio = Evaluation(layout, previous, u).relative_residual
        finite = layout.norm(u).isfinite()
        n_iter = torch.full((layout.n,), self.terms, device=rhs.device)
        status = torch.where(finite, Status.MAX_ITER, Status.NONFINITE)
        u = layout.where(finite, u, torch.zeros_like(u))
        return Solution(u, n_iter, n_iter - 1, ratio, status)
