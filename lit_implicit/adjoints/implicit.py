"""Exact gradients at the fixed point by the implicit function theorem."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_implicit.adjoints.base import AbstractAdjoint, differentiate_sound
from lit_implicit.layout import AbstractLayout, Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import (
    AbstractLinearSolver,
    AbstractSolver,
    AdjointRecord,
    Solution,
    Status,
)


@dataclass(frozen=True)
class Implicit(AbstractAdjoint):
    """Solve the adjoint system u = (dG/dz)^T u + v at the fixed point; its cost is one solve.

    One tracked evaluation of G at the fixed point serves the whole backward pass: its graph gives
    the vector-Jacobian products of the solve and then, with u as incoming gradient, the gradients
    of all that G touches. Memory does not grow with the iterations. The answer itself is the
    solver's, to the bit. A sample whose adjoint system diverges gets no gradient; its status stands
    in `solution.adjoint`. Differentiating twice is refused.

    Args:
        solver: Solver of the adjoint system, whose incoming gradient v is scaled to norm 1 for each
            sample: a linear one (`GMRES`, or `Neumann` for a truncated series), or a fixed-point
            solver, started from v. None means the forward's method, rtol and max_iter (its atol is
            in units of the state and says nothing about gradients).

    References:
        Bai, Kolter and Koltun (2019), arXiv:1909.01377, Theorem 1.
    """

    solver: AbstractSolver | AbstractLinearSolver | None = None

    def solve(self, g: AbstractMap, z0: Real, solver: AbstractSolver) -> Solution:
        solution = solver.solve(g, z0)
        backward_solver = self.solver or replace(solver, atol=0.0)  # type: ignore[type-var]

        def differentiate(g: AbstractMap, z_star: Real, keep: Mask) -> Real:
            z_star = z_star.detach().requires_grad_()
            gz = g(z_star)
            if not _depends_on_another_leaf(gz, z_star):
                return z_star.detach()  # a frozen operator: there is nothing to differentiate
            backward = _Backward(g.layout, backward_solver, keep, solution.adjoint)
            attached: Real = _Attach.apply(gz, z_star, backward)
            return attached

        return differentiate_sound(g, solution, differentiate)


@dataclass(eq=False)
class _Backward:
    """What the backward pass needs beside tensors that autograd keeps."""

    layout: AbstractLayout
    solver: AbstractSolver | AbstractLinearSolver
    keep: Mask
    record: AdjointRecord

    def solve(self, gz: Tensor, z_star: Tensor, v: Tensor) -> Tensor:
        """Return u = J^T u + v, zero for samples whose system could not be solved."""
        # The system is linear: at norm 1, neither rounding nor tolerances depend on the loss.
        norm = self.layout.norm(v)
        scale = torch.where((norm > 0) & norm.isfinite(), norm, 1.0)
        unit = v / self.layout.spread(scale, v).to(v.dtype)
        if isinstance(self.solver, AbstractLinearSolver):
            transpose = _Transpose(gz, z_star)
            solution = self.solver.solve(lambda u: u - transpose(u), unit, self.layout)
        else:
            solution = self.solver.solve(_AdjointMap(gz, z_star, unit, self.layout), unit)
        self._report(solution)
        u = solution.z * self.layout.spread(scale, v).to(v.dtype)
        return self.layout.where(solution.failed, torch.zeros_like(u), u)

    def _report(self, solution: Solution) -> None:
        """Fill in the record, sample by sample of the whole batch."""
        keep, record = self.keep, self.record
        n_iter = solution.n_iter.new_zeros(len(keep))
        ratio = solution.relative_residual.new_full((len(keep),), torch.nan)
        status = solution.status.new_full((len(keep),), Status.NONFINITE)
        record.n_iter = n_iter.index_put((keep,), solution.n_iter)
        record.relative_residual = ratio.index_put((keep,), solution.relative_residual)
        record.status = status.index_put((keep,), solution.status)


class _Transpose:
    """The product u -> J^T u with the Jacobian J = dG/dz of a graph."""

    def __init__(self, gz: Real, z_star: Real) -> None:
        self.gz, self.z_star = gz, z_star

    def __call__(self, u: Real) -> Real:
        with torch.enable_grad():
            (product,) = torch.autograd.grad(
                self.gz, self.z_star, u, retain_graph=True, materialize_grads=True
            )
        return product


class _AdjointMap(AbstractMap):
    """The affine map u -> J^T u + v, whose fixed point the backward pass needs."""

    can_select = False  # one graph serves the whole batch

    def __init__(self, gz: Real, z_star: Real, v: Real, layout: AbstractLayout) -> None:
        self.transpose, self.v, self.layout = _Transpose(gz, z_star), v, layout

    def __call__(self, u: Real) -> Real:
        return self.transpose(u) + self.v

    def select(self, keep: Mask) -> AbstractMap:
        raise TypeError("The adjoint map shares one graph over its batch and cannot be narrowed.")


class _Attach(torch.autograd.Function):
    """Pass the value of z_star on; turn the incoming gradient v into u for the graph of G."""

    @staticmethod
    def forward(ctx: Any, gz: Tensor, z_star: Tensor, backward: _Backward) -> Tensor:
        ctx.save_for_backward(gz, z_star)
        ctx.solve = backward.solve
        return z_star.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "`Implicit` does not differentiate twice: its backward pass was asked to build a "
                "graph (`create_graph=True`). Use the adjoint `Unrolled` for second derivatives."
            )
        return ctx.solve(*ctx.saved_tensors, *grad_outputs), None, None


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
