"""Exact gradients at the fixed point by the implicit function theorem."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.adjoints.base import AbstractAdjoint, differentiate_sound
from lit_implicit.layout import AbstractLayout, Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import AbstractSolver, AdjointRecord, Solution


@dataclass(frozen=True)
class Implicit(AbstractAdjoint):
    """Solve the adjoint system u = (dG/dz)^T u + v at the fixed point; its cost is one solve.

    One tracked evaluation of G at the fixed point serves the whole backward pass: its graph gives
    the vector-Jacobian products of the solve and then, with u as incoming gradient, the gradients
    of all that G touches. Memory does not grow with the iterations. The answer itself is the
    solver's, to the bit. Differentiating twice is refused.

    Args:
        solver: Solver of the adjoint system, started from the incoming gradient v; None means the
            forward's own.

    References:
        Bai, Kolter and Koltun (2019), arXiv:1909.01377, Theorem 1.
    """

    solver: AbstractSolver | None = None

    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        solution = solver.solve(g, z0)

        def differentiate(g: AbstractMap, z_star: Real) -> Real:
            z_star = z_star.detach().requires_grad_()
            gz = g(z_star)
            backward_solver = self.solver or solver
            attached: Real = _Attach.apply(gz, z_star, g.layout, backward_solver, solution.adjoint)
            return attached

        return differentiate_sound(g, solution, differentiate)


class _AdjointMap(AbstractMap):
    """The affine map u -> J^T u + v, whose fixed point the backward pass needs."""

    def __init__(self, gz: Real, z_star: Real, v: Real, layout: AbstractLayout) -> None:
        self.gz, self.z_star, self.v, self.layout = gz, z_star, v, layout

    def __call__(self, u: Real) -> Real:
        with torch.enable_grad():
            (product,) = torch.autograd.grad(
                self.gz, self.z_star, u, retain_graph=True, materialize_grads=True
            )
        return product + self.v

    def select(self, keep: Mask) -> AbstractMap:
        raise TypeError("The adjoint map shares one graph over its batch and cannot be narrowed.")


class _Attach(torch.autograd.Function):
    """Pass the value of z_star on; turn the incoming gradient v into u for the graph of G."""

    @staticmethod
    def forward(
        ctx: Any,
        gz: Tensor,
        z_star: Tensor,
        layout: AbstractLayout,
        solver: AbstractSolver,
        record: AdjointRecord,
    ) -> Tensor:
        ctx.save_for_backward(gz, z_star)
        ctx.layout, ctx.solver, ctx.record = layout, solver, record
        return z_star.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "`Implicit` does not differentiate twice: its backward pass was asked to build a "
                "graph (`create_graph=True`). Use the adjoint `Unrolled` for second derivatives."
            )
        (v,) = grad_outputs
        gz, z_star = ctx.saved_tensors
        solution = ctx.solver.solve(_AdjointMap(gz, z_star, v, ctx.layout), v)
        ctx.record.n_iter = solution.n_iter
        ctx.record.relative_residual = solution.relative_residual
        ctx.record.status = solution.status
        return solution.z, None, None, None, None
