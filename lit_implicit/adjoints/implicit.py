"""Exact gradients at the fixed point by the implicit function theorem."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_implicit.adjoints.base import AbstractAdjoint, differentiate_sound
from lit_implicit.adjoints.inverse import ApplyInverse, Inverse
from lit_implicit.layout import Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import AbstractLinearSolver, AbstractSolver, Solution


@dataclass(frozen=True)
class Implicit(AbstractAdjoint):
    """Solve the adjoint system u = (dG/dz)^T u + v at the fixed point; its cost is one solve.

    One tracked evaluation of G at the fixed point serves the whole backward pass: its graph gives
    the vector-Jacobian products of the solve and then, with u as incoming gradient, the gradients
    of all that G touches. Memory does not grow with the iterations. The answer itself is the
    solver's, to the bit. A sample whose adjoint system diverges gets no gradient; its status stands
    in `solution.adjoint`.

    With J = dG/dz and M = (I - J)^-1 at z*, both constant, the Newton step
    z1 = z* + M (G(z*, x) - z*) has the derivative of the fixed point, and a second one from z1 has
    its second derivative too, as the first derivative of the residual at z1 is zero. So `order=2`
    costs one tracked evaluation and one backward solve more, and the backward pass of the backward
    pass solves with M itself. The second solve also refines the first gradient.

    Args:
        solver: Solver of the adjoint system, whose incoming gradient v is scaled to norm 1 for each
            sample: a linear one (`GMRES`, or `Neumann` for a truncated series, of twice the terms
            where `order` is 2), or a fixed-point solver, started from v. None means the forward's
            method, rtol and max_iter (its atol is in units of the state and says nothing about
            gradients).
        order: How often the answer can be differentiated, 1 or 2; more is refused in the backward
            pass by a RuntimeError.

    Raises:
        ValueError: If `order` is neither 1 nor 2.

    References:
        Bai, Kolter and Koltun (2019), arXiv:1909.01377, Theorem 1.
    """

    solver: AbstractSolver | AbstractLinearSolver | None = None
    order: int = 1

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(
                f"`Implicit.order` must be 1 or 2, got {self.order}. Use `Unrolled` for higher "
                "derivatives."
            )

    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        solution = solver.solve(g, z0)
        backward_solver = self.solver or replace(solver, atol=0.0)  # type: ignore[type-var]

        def differentiate(g: AbstractMap, z_star: Real, keep: Mask) -> Real:
            z_star = z_star.detach().requires_grad_()
            gz = g(z_star)
            if not _depends_on_another_leaf(gz, z_star):
                return z_star.detach()  # a frozen operator: there is nothing to differentiate
            inverse = Inverse(g.layout, backward_solver, self.order, keep, solution.adjoint)
            z: Real = _NewtonStep.apply(z_star.detach(), gz, gz, z_star, inverse)
            if self.order == 2:
                z = _NewtonStep.apply(z, g(z), gz, z_star, inverse)
            return z

        return differentiate_sound(g, solution, differentiate)


class _NewtonStep(torch.autograd.Function):
    """Pass the value of z on, with the derivative of z + M (G(z) - z) for a constant M.

    The residual G(z) - z at the fixed point is nothing but the solver's tolerance: it is left out.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, gz: Tensor, at_star: Tensor, z_star: Tensor, inverse: Inverse
    ) -> Tensor:
        ctx.save_for_backward(at_star, z_star)
        ctx.inverse = inverse
        return z.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and ctx.inverse.order == 1:
            raise RuntimeError(
                "`Implicit` does not differentiate twice: its backward pass was asked to build a "
                "graph (`create_graph=True`). Use `Implicit(order=2)` for second derivatives, or "
                "`Unrolled`."
            )
        (v,) = grad_outputs
        u = ApplyInverse.apply(v, *ctx.saved_tensors, ctx.inverse, True)
        return v - u if ctx.needs_input_grad[0] else None, u, None, None, None


def _depends_on_another_leaf(gz: Tensor, z_star: Tensor) -> bool:
    """Tell whether anything but `z_star` would get a gradient from `gz`."""
    seen, stack = set(), [gz.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf is not z_star:
            return True
        stack.extend(parent for parent, _ in node.next_functions)
    return False
