"""The steady incompressible Navier-Stokes equation on the periodic square, in vorticity form.

    u . grad w - nu Lap w = curl f,    w = curl u,    div u = 0,

of density 1 on [0, 2 pi)^2: lengths are in units of the side over 2 pi, all else follows from a
unit of time. Fields have shape `(..., N, N)`, vector fields `(..., 2, N, N)`; `nu` is a number or a
tensor that broadcasts against the leading axes. Pressure carries the gradient part of a force, and
its mean would accelerate the fluid for ever: what matters of f is its curl.

Every product is free of aliasing for the wavenumbers of the grid (`Spectral`): the equation is
solved in the sense of Galerkin, and exactly where w has wavenumbers below N / 4.
"""

import torch
from torch import Tensor

from lit_implicit_flow.spectral import Spectral


def velocity(vorticity: Tensor) -> Tensor:
    """Return the velocity of mean zero, shape `(..., 2, N, N)`, of a vorticity `(..., N, N)`."""
    s = Spectral.of(vorticity)
    return s.field(s.velocity(s.transform(vorticity)))


def curl(vector: Tensor) -> Tensor:
    """Return d v_2 / dx - d v_1 / dy, shape `(..., N, N)`."""
    s = Spectral.of(vector)
    return s.field(s.curl(s.transform(vector)))


def divergence(vector: Tensor) -> Tensor:
    """Return d v_1 / dx + d v_2 / dy, shape `(..., N, N)`."""
    s = Spectral.of(vector)
    return s.field(s.divergence(s.transform(vector)))


def project(vector: Tensor) -> Tensor:
    """Return the divergence-free part of mean zero: the one with the same curl.

    It is what acts on the flow: the rest is balanced by the pressure, or accelerates all of the
    fluid. Wavenumber N / 2 of an even N goes, too.
    """
    s = Spectral.of(vector)
    return s.field(s.velocity(s.curl(s.transform(vector))))


def force_of_curl(curl_of_force: Tensor) -> Tensor:
    """Return the divergence-free force of mean zero, `(..., 2, N, N)`, of a curl `(..., N, N)`."""
    return velocity(curl_of_force)  # a force is to its curl what a velocity is to its vorticity


def balance(vorticity: Tensor, nu: float | Tensor) -> Tensor:
    """Return u . grad w - nu Lap w: the curl of the force that holds a flow steady."""
    s = Spectral.of(vorticity)
    w = s.transform(vorticity)
    u = s.fine(s.velocity(w))
    return s.field(s.advection(u, u) + _viscosity(nu, w) * s.square * w)


def force_of(vorticity: Tensor, nu: float | Tensor) -> Tensor:
    """Return the divergence-free force, `(..., 2, N, N)`, that holds a flow steady."""
    return force_of_curl(balance(vorticity, nu))


def residual(vorticity: Tensor, force: Tensor, nu: float | Tensor) -> Tensor:
    """Return R(w; f) = u . grad w - nu Lap w - curl f, shape `(..., N, N)`."""
    return balance(vorticity, nu) - curl(force)


def relative_residual(vorticity: Tensor, force: Tensor, nu: float | Tensor) -> Tensor:
    """Return |R(w; f)| / |curl f| in 2-norms, sample by sample; 1 for a fluid at rest.

    A force without a curl is counted as one of a tiny curl.
    """
    wanted = curl(force)
    left = balance(vorticity, nu) - wanted
    norm, size = (torch.linalg.vector_norm(part, dim=(-2, -1)) for part in (left, wanted))
    ratio: Tensor = norm / size.clamp_min(torch.finfo(size.dtype).tiny)
    return ratio


def best_viscosity(vorticity: Tensor, force: Tensor) -> Tensor:
    """Return the viscosity that leaves least in the equation, sample by sample.

    The residual is linear in it: curl f - u . grad w is fitted by -Lap w, in 2-norms.
    """
    advection = balance(vorticity, 0.0)
    given, viscous = curl(force) - advection, balance(vorticity, 1.0) - advection
    found: Tensor = (given * viscous).sum(dim=(-2, -1)) / viscous.square().sum(dim=(-2, -1))
    return found


def linearized(vorticity: Tensor, change: Tensor, nu: float | Tensor) -> Tensor:
    """Return u . grad w' + u' . grad w - nu Lap w': the derivative of `balance` along w'.

    Args:
        vorticity: Where it is taken, w, shape `(..., N, N)`.
        change: The direction w', of that shape.
        nu: Viscosity.
    """
    s = Spectral.of(vorticity)
    moved = s.transform(change)
    u, v = (s.fine(s.velocity(part)) for part in (s.transform(vorticity), moved))
    return s.field(2 * s.advection(u, v) + _viscosity(nu, moved) * s.square * moved)


def _viscosity(nu: float | Tensor, like: Tensor) -> float | Tensor:
    """Give viscosities of samples the axes of a spectrum."""
    if not isinstance(nu, Tensor) or nu.ndim == 0:
        return nu
    return nu.to(like.real.dtype).reshape(*nu.shape, *(1,) * (like.ndim - nu.ndim))
