"""Steady flows under given forces: continuation in viscosity, and a look for other solutions."""

from dataclasses import dataclass, field, replace
from enum import IntEnum

import torch
from torch import Tensor

from lit_implicit_flow.equation import curl, velocity
from lit_implicit_flow.newton import NewtonKrylov
from lit_implicit_flow.spectral import Spectral

_STAGE_RTOL = 1e-3
"""Tolerance at viscosities on the way."""
_STAGE_STEPS = 10
"""Most Newton steps at one viscosity: from a flow nearby, more than that leads nowhere."""
_MAX_RATIO = 0.95
"""A sample that needs smaller steps in viscosity than this is given up."""
_MAX_ROUNDS = 60


class FlowStatus(IntEnum):
    """What is known of the steady flow under a force."""

    SOLVED = 0
    """One steady flow was found, whatever the start."""
    NOT_CONVERGED = 1
    """None was found: the continuation ended at a larger viscosity."""
    NOT_UNIQUE = 2
    """Another start led to another steady flow."""
    UNDER_RESOLVED = 3
    """The flow has too much of the highest wavenumbers: the resolution is too low for it."""


@dataclass(frozen=True, eq=False)
class SteadyFlows:
    """Solutions with all that says how far to trust them; everything but the first is `(n,)`.

    Args:
        vorticity: Shape `(n, N, N)`; what was found last where the status is not SOLVED.
        status: A `FlowStatus`.
        residual: See `NewtonResult.residual`.
        reached: The least viscosity at which a solution was found.
        tail: Share of the 2-norm of w at wavenumbers above N / 3.
        n_agree: Other starts that led to the same flow.
        n_lost: Other starts that led nowhere.
    """

    vorticity: Tensor
    status: Tensor
    residual: Tensor
    reached: Tensor
    tail: Tensor
    n_agree: Tensor
    n_lost: Tensor


@dataclass(frozen=True)
class SteadySolver:
    """Finds steady flows from nothing but the force.

    Where viscosity is large, the flow is slow, unique and found from rest. From there viscosity is
    lowered, sample by sample, by factors that grow after a success and shrink after a failure;
    each flow is the start for the next. Then Newton's method starts at the given viscosity from
    fields drawn at random, of the found flow's size: those that end elsewhere show that the force
    does not tell the flow.

    Args:
        newton: Solves at one viscosity.
        max_tail: Largest share of w above N / 3.
    """

    newton: NewtonKrylov = field(default_factory=NewtonKrylov)
    max_tail: float = 1e-3

    @torch.no_grad()
    def solve(self, force: Tensor, nu: Tensor, noise: Tensor) -> SteadyFlows:
        """Solve for the flows under forces.

        Args:
            force: Forces, shape `(n, 2, N, N)`; their curl is all that counts.
            nu: Viscosities, shape `(n,)`, positive.
            noise: White noise, of which the other starts are made, shape `(starts, n, N, N)`.
        """
        curl_f = curl(force)
        w, reached, residual = self._continue(curl_f, nu)
        solved = reached <= nu
        n_agree = torch.zeros_like(nu, dtype=torch.int64)
        n_lost, elsewhere = torch.zeros_like(n_agree), torch.zeros_like(solved)
        for white in noise:
            start = _elsewhere(w, white)
            other = self.newton.solve(curl_f[solved], nu[solved], start[solved])
            off = _norm(other.vorticity - w[solved]) / _norm(w[solved])
            same = other.converged & (off < 1e-6)
            n_agree[solved] += same
            n_lost[solved] += ~other.converged
            elsewhere[solved] |= other.converged & ~same
        tail = _tail(w)
        status = torch.where(solved, FlowStatus.SOLVED, FlowStatus.NOT_CONVERGED)
        status = torch.where(elsewhere, FlowStatus.NOT_UNIQUE, status)
        status = torch.where(solved & (tail > self.max_tail), FlowStatus.UNDER_RESOLVED, status)
        return SteadyFlows(w, status, residual, reached, tail, n_agree, n_lost)

    def _continue(self, curl_f: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lower the viscosities to their targets; return flows, viscosities and residuals."""
        w = torch.zeros_like(curl_f)
        reached, residual = torch.full_like(target, torch.inf), torch.full_like(target, torch.inf)
        trial = torch.maximum(target, _calm_viscosity(curl_f))
        ratio = torch.full_like(target, 0.5)
        newton = replace(self.newton, max_iter=_STAGE_STEPS)
        for _ in range(_MAX_ROUNDS):
            going = (reached > target) & (ratio < _MAX_RATIO)
            if not going.any():
                break
            rtol = torch.where(trial <= target, self.newton.rtol, _STAGE_RTOL)
            found = newton.solve(curl_f[going], trial[going], w[going], rtol[going])
            good = going.index_put((going,), found.converged)
            w[good] = found.vorticity[found.converged]
            residual[good] = found.residual[found.converged]
            reached = torch.where(good, trial, reached)
            ratio = torch.where(good, (ratio**1.5).clamp(min=0.1), ratio)
            ratio = torch.where(going & ~good, ratio.sqrt(), ratio)
            # From rest the first success is still to come: then up, not down.
            lower = torch.maximum(target, reached * ratio)
            trial = torch.where(reached.isinf(), trial * 2, lower)
        return w, reached, residual


def _calm_viscosity(curl_f: Tensor) -> Tensor:
    """Return viscosities at which the Stokes flow has Reynolds number 1, shape `(n,)`.

    That flow is P curl f, with a velocity in proportion to 1 / nu: the number to its square.
    """
    s = Spectral.of(curl_f)
    stokes = velocity(s.field(s.transform(curl_f) * s.inverse))
    fastest: Tensor = torch.linalg.vector_norm(stokes, dim=-3).amax(dim=(-2, -1))
    return fastest.sqrt()


def _elsewhere(w: Tensor, noise: Tensor) -> Tensor:
    """Return noise whose amplitudes fall as 1 / |k|^2, of the size of w."""
    s = Spectral.of(w)
    smooth = s.field(s.transform(noise) * s.inverse)
    found: Tensor = smooth * (_norm(w) / _norm(smooth))[:, None, None]
    return found


def _tail(w: Tensor) -> Tensor:
    s = Spectral.of(w)
    high = s.transform(w) * (torch.maximum(s.kx.abs(), s.ky) > s.n / 3)
    share: Tensor = _norm(s.field(high)) / _norm(w).clamp_min(torch.finfo(w.dtype).tiny)
    return share


def _norm(field: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(field, dim=(-2, -1))
    return norm
