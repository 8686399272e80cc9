"""What a solve returns, sample by sample: the state, how it was reached, how it ended."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

import numpy.typing as npt
from torch import Tensor

from lit_implicit.layout import Real

Norms = TypeVar("Norms", Tensor, npt.NDArray[Any])
"""Norms of each sample, shape `(n,)`."""


class Status(IntEnum):
    """How the solve of one sample ended. Non-convergence is data, not an exception."""

    CONVERGED = 0
    """The residual met the tolerance, or the operator gave a reason of its own to stop."""
    MAX_ITER = 1
    """The budget ended first; the state is the last iterate."""
    DIVERGED = 2
    """The residual grew out of all proportion; the state is the best finite iterate."""
    NONFINITE = 3
    """G returned NaN or infinity; the state is the best finite iterate."""


@dataclass(eq=False)
class AdjointRecord:
    """How the backward solves went, all together; None until `backward` has run through one.

    There is one for each differentiation of a graph, and more for second derivatives. A sample that
    failed in the forward solve has none: 0 iterations, residual NaN, NONFINITE.

    Args:
        n_iter: Iterations of each sample in all solves, shape `(n,)`.
        relative_residual: Largest last relative residual of each sample, shape `(n,)`,
            dimensionless.
        status: The worst `Status` of each sample, shape `(n,)`.
    """

    n_iter: Tensor | None = None
    relative_residual: Tensor | None = None
    status: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a fixed-point solve; everything but `z` has shape `(n,)`.

    Args:
        z: Iterate number `n_iter` of each sample; where the solve failed its best finite one, or
            zeros if there is none.
        n_iter: Iterations.
        n_eval: Evaluations of G.
        relative_residual: |G(z) - z| / |G(z)| at the last iterate that was evaluated, which is the
            one before `z`; dimensionless.
        status: A `Status`.
        adjoint: Filled in by the backward pass where the adjoint solves a system.
    """

    z: Real
    n_iter: Tensor
    n_eval: Tensor
    relative_residual: Tensor
    status: Tensor
    adjoint: AdjointRecord = field(default_factory=AdjointRecord)

    @property
    def converged(self) -> Tensor:
        """Samples that converged, shape `(n,)`, boolean."""
        return self.status == Status.CONVERGED

    @property
    def failed(self) -> Tensor:
        """Samples without a usable answer (diverged or not finite), shape `(n,)`, boolean."""
        return self.status >= Status.DIVERGED

    @property
    def adjoint_relative_residual(self) -> Tensor | None:
        """Relative residual of the backward solve, `(n,)`; None before it, or without one."""
        return self.adjoint.relative_residual


def relative_residual(residual_norm: Norms, g_norm: Norms) -> Norms:
    """Return |G(z) - z| / (|G(z)| + 1e-9): the one definition in the whole project.

    Args:
        residual_norm: 2-norm of G(z) - z of each sample, shape `(n,)`.
        g_norm: 2-norm of G(z) of each sample, shape `(n,)`.
    """
    return residual_norm / (g_norm + 1e-9)
