"""The inverse of I - J at a fixed point, J = dG/dz: products with it are solves, and are linear."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import (
    AbstractLinearSolver,
    AbstractSolver,
    AdjointRecord,
    Solution,
    Status,
)

Product = Callable[[Real], Real]


@dataclass(eq=False)
class Inverse:
    """How M = (I - J)^-1 and its transpose are applied, and the record of all such solves.

    Args:
        layout: How the samples lie in a state.
        solver: Solver of the systems.
        order: How often the answer may be differentiated.
        keep: The samples of the whole batch that the layout holds, shape `(n,)`.
        record: Filled in by each solve, for the whole batch.
    """

    layout: AbstractLayout
    solver: AbstractSolver | AbstractLinearSolver
    order: int
    keep: Mask
    record: AdjointRecord

    def solve(self, product: Product, v: Real) -> Real:
        """Return u = J u + v, given the product with J; zero for samples that cannot be solved."""
        # The system is linear: at norm 1, neither rounding nor tolerances depend on the loss.
        norm = self.layout.norm(v)
        scale = torch.where((norm > 0) & norm.isfinite(), norm, 1.0)
        unit = v / self.layout.spread(scale, v).to(v.dtype)
        if isinstance(self.solver, AbstractLinearSolver):
            solution = self.solver.solve(lambda u: u - product(u), unit, self.layout)
        else:
            solution = self.solver.solve(_LinearMap(product, unit, self.layout), unit)
        self._report(solution)
        u = solution.z * self.layout.spread(scale, v).to(v.dtype)
        return self.layout.where(solution.failed, torch.zeros_like(u), u)

    def _report(self, solution: Solution) -> None:
        """Add a solve to the record, sample by sample of the whole batch."""
        keep, record = self.keep, self.record
        n_iter, ratio, status = record.n_iter, record.relative_residual, record.status
        if n_iter is None or ratio is None or status is None:
            n_iter = solution.n_iter.new_zeros(len(keep))
            ratio = torch.where(keep, solution.relative_residual.new_zeros(()), torch.nan)
            status = torch.where(keep, Status.CONVERGED, Status.NONFINITE)
        worst, last = ratio[keep], solution.relative_residual
        record.n_iter = n_iter.index_put((keep,), n_iter[keep] + solution.n_iter)
        record.relative_residual = ratio.index_put((keep,), worst.maximum(last))
        record.status = status.index_put((keep,), status[keep].maximum(solution.status))


class ApplyInverse(torch.autograd.Function):
    """The product v -> M^T v, or v -> M v, with M held constant: the backward of each is the other.

    The graph of G that holds J is an input without a gradient, so that autograd frees it after
    this.
    """

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, gz: Tensor, z_star: Tensor, inverse: Inverse, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(gz, z_star)
        ctx.inverse, ctx.transposed = inverse, transposed
        return inverse.solve((_transpose if transposed else _forward)(gz, z_star), v)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "`Implicit(order=2)` does not differentiate three times: its second backward pass "
                "was asked to build a graph (`create_graph=True`). Use the adjoint `Unrolled` for "
                "higher derivatives."
            )
        (w,) = grad_outputs
        return ApplyInverse.apply(w, *ctx.saved_tensors, ctx.inverse, not ctx.transposed), *[
            None
        ] * 4


class _LinearMap(AbstractMap):
    """The affine map u -> J u + v, whose fixed point is M v."""

    can_select = False  # one graph serves the whole batch

    def __init__(self, product: Product, v: Real, layout: AbstractLayout) -> None:
        self.product, self.v, self.layout = product, v, layout

    def __call__(self, u: Real) -> Real:
        return self.product(u) + self.v

    def select(self, keep: Mask) -> AbstractMap:
        raise TypeError("The adjoint map shares one graph over its batch and cannot be narrowed.")


def _transpose(gz: Real, z_star: Real) -> Product:
    """Return the product u -> J^T u with the Jacobian J = dG/dz of a graph."""

    def product(u: Real) -> Real:
        with torch.enable_grad():
            (jtu,) = torch.autograd.grad(gz, z_star, u, retain_graph=True, materialize_grads=True)
        return jtu

    return product


def _forward(gz: Real, z_star: Real) -> Product:
    """Return the product w -> J w: J^T u is linear in u, and its own transpose is J."""
    with torch.enable_grad():
        u = torch.zeros_like(gz).requires_grad_()
        (jtu,) = torch.autograd.grad(gz, z_star, u, create_graph=True, materialize_grads=True)

    def product(w: Real) -> Real:
        if not jtu.requires_grad:  # G does not depend on z
            return torch.zeros_like(w)
        with torch.enable_grad():
            (jw,) = torch.autograd.grad(jtu, u, w, retain_graph=True, materialize_grads=True)
        return jw

    return product
