"""A Krylov space grown by Arnoldi's process, with the least-squares problem of GMRES over it."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real, widest_dtype
from lit_implicit.solvers.linear.base import Matvec


class Arnoldi:
    """Orthonormal Krylov bases of a batch, each growing until its sample stops.

    The Hessenberg matrix H of a sample is kept as QH = R, where Q is the product of all Givens
    rotations so far: a new column then costs a number of operations that does not grow with it.
    Its small systems are held in float64 where the device has it.

    Args:
        size: Largest dimension.
        layout: How the samples lie in a state.
        state: A state, for its shape, dtype and device.

    Attributes:
        growing: Samples that go on, shape `(n,)`; a solver takes samples out of it.
        took: Samples whose last product enlarged their space, shape `(n,)`.
        broken: Samples whose product was not finite, shape `(n,)`.
        residual: 2-norm of the residual over the space so far, of samples in `took`, shape `(n,)`.
    """

    growing: Mask
    took: Mask
    broken: Mask
    residual: PerSample

    def __init__(self, size: int, layout: AbstractLayout, state: Real) -> None:
        self.size, self.layout = size, layout
        self.dimension = 0
        self.basis = state.new_zeros(size + 1, *state.shape)
        wide = widest_dtype(state.device)
        self.q = state.new_zeros(layout.n, size + 1, size + 1, dtype=wide)
        self.r = state.new_zeros(layout.n, size, size, dtype=wide)
        self.used = torch.zeros(layout.n, size, dtype=torch.bool, device=state.device)

    def start(self, residual: Real, active: Mask) -> None:
        """Begin again from the residual of the samples in `active`."""
        norm = self.layout.norm(residual)
        active = active & (norm > 0) & norm.isfinite()
        self.growing, self.took, self.broken = active, active, torch.zeros_like(active)
        self.residual = torch.where(active, norm, 0.0)
        self.start_norm = self.residual
        self.basis[0] = self._divided(residual, torch.where(active, norm, 0.0))
        self.dimension = 0
        for matrix in (self.q, self.r):
            matrix.zero_().diagonal(dim1=-2, dim2=-1).fill_(1.0)
        self.used.zero_()

    def grow(self, matvec: Matvec) -> None:
        """Take in the product with the newest basis vector of the samples in `growing`."""
        layout, j = self.layout, self.dimension
        w = matvec(self.basis[j])
        scale = layout.norm(w)
        finite = scale.isfinite()
        self.broken = self.growing & ~finite
        take = self.growing & finite
        w = torch.where(layout.spread(take, w), w, 0.0)

        # Gram-Schmidt twice: as orthogonal as the modified one, in two products instead of j.
        basis = self.basis[: j + 1]
        h = layout.dot(basis, w)
        w = layout.mix(h.T, basis, w, -1)
        correction = layout.dot(basis, w)
        w = layout.mix(correction.T, basis, w, -1)
        # What is left within rounding is nothing: the space holds the solution, if there is one.
        noise = 10 * torch.finfo(w.dtype).eps * scale
        length = layout.norm(w)
        length = torch.where(take & (length > noise), length, 0.0)
        self.basis[j + 1] = self._divided(w, length)

        self._rotate(j, h + correction, length, take, noise)
        self.took = self.used[:, j]
        self.growing = self.took
        self.residual = (self.start_norm * self.q[:, j + 1, 0].abs()).to(self.residual.dtype)
        self.dimension = j + 1

    def _rotate(self, j: int, h: Tensor, length: PerSample, take: Mask, noise: PerSample) -> None:
        """Bring column j of the Hessenberg matrices, `h` above `length`, to triangular form."""
        q, r = self.q, self.r
        column = (q[:, : j + 1, : j + 1] @ h.T.to(q.dtype)[..., None])[..., 0]
        diagonal = torch.hypot(column[:, j], length.to(q.dtype))
        # A column of nothing but rounding: A is singular there.
        used = take & (diagonal > noise)
        safe = torch.where(used, diagonal, 1.0)
        cosine = torch.where(used, column[:, j] / safe, 1.0)[:, None]
        sine = torch.where(used, length / safe, 0.0)[:, None]
        above, below = q[:, j].clone(), q[:, j + 1].clone()
        q[:, j] = cosine * above + sine * below
        q[:, j + 1] = cosine * below - sine * above
        r[:, :j, j] = column[:, :j]
        r[:, j, j] = safe
        self.used[:, j] = used

    def add_to(self, u: Real) -> Real:
        """Return `u` plus the element of each space that leaves the least residual."""
        m = self.dimension
        rhs = self.start_norm[:, None] * self.q[:, :m, 0]
        rhs = torch.where(self.used[:, :m], rhs, 0.0)
        y = torch.linalg.solve_triangular(self.r[:, :m, :m], rhs[..., None], upper=True)[..., 0]
        return self.layout.mix(y, self.basis[:m], u)

    def _divided(self, state: Real, length: PerSample) -> Real:
        """Return `state / length`, and zero where the length is zero, whatever the state."""
        scale = torch.where(length > 0, length, 1.0)
        quotient = state / self.layout.spread(scale, state).to(state.dtype)
        return torch.where(self.layout.spread(length > 0, state), quotient, 0.0)
