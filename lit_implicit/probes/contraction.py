"""How much one application of G contracts: the norm and the spectral radius of dG/dz."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.probes.state_jacobian import StateJacobian
from lit_implicit.solvers.base import is_time_to_look

SETTLED = 1e-2
"""Uncertainty up to which more steps would hardly change an estimate."""


class Estimate(NamedTuple):
    """A number of each sample, by a Krylov method.

    Args:
        value: The estimate, shape `(n,)`.
        uncertainty: Relative residual of the vector that belongs to it, shape `(n,)`: there is a
            singular value (for a normal J, an eigenvalue) within that part of it. That there is no
            larger one, it cannot tell.
    """

    value: Tensor
    uncertainty: Tensor

    @property
    def settled(self) -> Tensor:
        """Samples whose estimate would hardly change with more steps, shape `(n,)`, boolean."""
        return self.uncertainty <= SETTLED


def contraction_factor(g: AbstractMap, z: Real, n_steps: int = 12, seed: int = 0) -> Tensor:
    """Return |dG/dz|_2 of each sample at a state: the local contraction factor of G(., x).

    An estimate from below: the largest singular value of J on the Krylov space of J^T J that power
    iteration spans (Golub and Kahan's method), where power iteration takes its last vector alone.
    Exact after as many steps as a sample's state has entries, good to a per cent after far fewer.
    Each step costs a product with J and one with J^T; the memory holds two states per step. The
    start is drawn for the whole batch.

    Args:
        g: The map z -> G(z, x), as `equilibrium.bind(x)` gives it.
        z: The state, z* for the factor at the fixed point.
        n_steps: Steps, at least 1.
        seed: Seed of the start.

    Returns:
        The largest singular value of dG/dz, shape `(n,)`; NaN where a derivative is not finite.

    Raises:
        ValueError: If `n_steps` is below 1.

    Example:
        >>> g, z0 = layer.bind(x)
        >>> contraction_factor(g, layer.solver.solve(g, z0).z)
    """
    return largest_singular_value(StateJacobian(g, z), n_steps, seed).value


def spectral_radius(g: AbstractMap, z: Real, n_steps: int = 12, seed: int = 0) -> Tensor:
    """Return the spectral radius of dG/dz of each sample: the asymptotic rate of Picard iteration.

    At most the contraction factor, and another number: a map may stretch differences at first and
    still converge. The largest eigenvalue in modulus, real or of a complex pair, of J on a Krylov
    space (Arnoldi's method). It may err to either side, so a sample whose eigenvector has a
    relative residual above a per cent has no answer.

    Args:
        g: The map z -> G(z, x).
        z: The state, z* for the rate at the fixed point.
        n_steps: Steps, at least 1; each costs a product with J.
        seed: Seed of the start.

    Returns:
        The estimate, shape `(n,)`, NaN where it has not settled.

    Raises:
        ValueError: If `n_steps` is below 1.
    """
    estimate = largest_eigenvalue(StateJacobian(g, z), n_steps, seed)
    return torch.where(estimate.settled, estimate.value, torch.nan)


def largest_singular_value(jacobian: StateJacobian, n_steps: int = 12, seed: int = 0) -> Estimate:
    """Estimate |J|_2 of each sample from below; see `contraction_factor`."""
    images: list[Tensor] = []

    def normal(v: Tensor) -> Tensor:
        images.append(jacobian.times(v))
        return jacobian.transposed_times(images[-1])

    _, beyond = _krylov(normal, jacobian, n_steps, seed)
    w = torch.stack(images)
    gram = torch.stack([jacobian.layout.dot(w, image) for image in images]).permute(2, 0, 1)
    finite = gram.isfinite().all(-1).all(-1)
    values, vectors = _on_cpu(torch.linalg.eigh, torch.where(finite[:, None, None], gram, 0.0))
    largest = values[:, -1].clamp(min=0)
    # J^T J misses lambda v by this much, so sigma = sqrt(lambda) by half of it, relatively.
    residual = beyond * vectors[:, -1, -1].abs() / 2
    return _estimate(largest.sqrt(), residual / largest, finite)


def largest_eigenvalue(jacobian: StateJacobian, n_steps: int = 12, seed: int = 0) -> Estimate:
    """Estimate the spectral radius of J of each sample; see `spectral_radius`."""
    hessenberg, beyond = _krylov(jacobian.times, jacobian, n_steps, seed)
    finite = hessenberg.isfinite().all(-1).all(-1)
    values, vectors = _on_cpu(torch.linalg.eig, torch.where(finite[:, None, None], hessenberg, 0.0))
    radius, place = values.abs().max(-1)
    last = vectors[:, -1].gather(1, place[:, None])[:, 0].abs()  # of columns of norm 1
    return _estimate(radius, beyond * last / radius, finite)


def around(
    g: AbstractMap, z: Real, size: float, n_steps: int = 12, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Measure how G contracts a random step away from a state.

    Args:
        g: The map z -> G(z, x).
        z: The state.
        size: Length of the step, relative to |z|.
        n_steps: As for `contraction_factor`.
        seed: Seed of the step's direction.

    Returns:
        |dG/dz|_2 at the end of the step, and |G(z + step) - G(z)| / |step|, each of shape `(n,)`.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
    step = g.layout.spread(size * g.layout.norm(z) / g.layout.norm(drawn), z).to(z.dtype) * drawn
    jacobian = StateJacobian(g, z + step)
    quotient = g.layout.norm(jacobian.gz - g(z)) / g.layout.norm(step)
    return largest_singular_value(jacobian, n_steps, seed).value, quotient


def _krylov(
    apply: Callable[[Tensor], Tensor], jacobian: StateJacobian, n_steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Span a Krylov space of each sample by Arnoldi's method, orthogonalised twice.

    Returns:
        The matrix of the map on the space, `(n, k, k)`, and how far the image of its last vector
        reaches out of it, `(n,)`: 0 where the space is invariant. There zeros fill up the basis.
    """
    if n_steps < 1:
        raise ValueError(f"`n_steps` must be at least 1, got {n_steps}.")
    z, layout = jacobian.z, jacobian.layout
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z)
    v = _unit(start, layout.norm(start), layout)
    basis = z.new_empty(n_steps, *z.shape)
    columns: list[Tensor] = []
    for k in range(n_steps):
        basis[k] = v
        v = apply(v)
        size, space = layout.norm(v), basis[: k + 1]
        column = torch.zeros_like(size).expand(len(space), -1)
        for _ in range(2):  # once leaves what rounding makes of nearly parallel vectors
            part = layout.dot(space, v)
            v, column = layout.mix(part.T, space, v, -1), column + part
        beyond = layout.norm(v)
        # What is left of an image within the space is rounding: no direction of its own.
        beyond = torch.where(beyond > 100 * torch.finfo(z.dtype).eps * size, beyond, 0.0)
        v = _unit(v, beyond, layout)
        columns.append(torch.cat([column, beyond[None]]))
        if is_time_to_look(k, z.device) and not beyond.any():
            break
    k = len(columns)
    # Column j holds the image of vector j, in coordinates of all vectors up to the next.
    square = [torch.nn.functional.pad(c[:k], (0, 0, 0, k - len(c[:k]))) for c in columns]
    return torch.stack(square, -1).transpose(0, 1), beyond


def _on_cpu(decompose: Callable[[Tensor], Any], small: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose small matrices, `(n, k, k)`: accelerators do it one by one, or not at all."""
    values, vectors = decompose(small.cpu())
    return values.to(small.device), vectors.to(small.device)


def _unit(v: Real, norm: Tensor, layout: AbstractLayout) -> Real:
    """Return `v` at norm 1, and zero where its norm is."""
    inverse = torch.where(norm == 0, 0.0, 1 / norm)
    return layout.spread(inverse, v).to(v.dtype) * v


def _estimate(value: Tensor, uncertainty: Tensor, finite: Tensor) -> Estimate:
    uncertainty = torch.where(value == 0, 0.0, uncertainty)  # J = 0: nothing is left to find
    nothing = torch.full_like(value, torch.nan)
    return Estimate(
        torch.where(finite, value, nothing),
        torch.where(finite, uncertainty, torch.full_like(uncertainty, torch.inf)),
    )
