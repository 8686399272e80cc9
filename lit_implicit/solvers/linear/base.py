"""What linear solvers share: systems A u = rhs, one for each sample of a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.solvers.solution import Solution

Matvec = Callable[[Tensor], Tensor]


class AbstractLinearSolver(ABC):
    """Settings of a method for A u = rhs, sample by sample, where A is known by its products.

    The adjoint `Implicit` takes one for u = J^T u + v, written as (I - J^T) u = v.
    """

    @abstractmethod
    def solve(self, matvec: Matvec, rhs: Real, layout: AbstractLayout) -> Solution:
        """Solve the system of each sample; no gradient is recorded.

        Args:
            matvec: The product u -> A u of states. It must not mix samples.
            rhs: The right-hand sides, a state.
            layout: How the samples lie in a state.

        Returns:
            The state u; iterations, products with A (`n_eval`), relative residual and status of
            each sample.
        """
