"""Newton's method with Krylov spaces for steady flows, sample by sample."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lit_implicit.layout import Dense
from lit_implicit.solvers import GMRES
from lit_implicit_flow.coarse import CoarseSolve
from lit_implicit_flow.spectral import Spectral

_HALVINGS = 6
"""Most halvings of a step that does not make the residual smaller."""


@dataclass(frozen=True, eq=False)
class NewtonResult:
    """How Newton's method ended; everything but `vorticity` has shape `(n,)`.

    Args:
        vorticity: The last iterates, shape `(n, N, N)`.
        converged: Samples whose residual met the tolerance.
        n_iter: Newton steps.
        residual: |w - P(curl f - u . grad w)| / |w| with P the inverse of -nu Lap, dimensionless.
        history: The same before each step and at the end, shape `(steps + 1, n)`.
    """

    vorticity: Tensor
    converged: Tensor
    n_iter: Tensor
    residual: Tensor
    history: Tensor


@dataclass(frozen=True)
class NewtonKrylov:
    """Newton's method on w = P(curl f - u . grad w), P the inverse of -nu Lap.

    P is a Stokes solve, exact in Fourier space. The linearised equation, so preconditioned and
    solved directly for the longest waves (`CoarseSolve`), is solved by GMRES; steps are halved
    where they do not make the residual smaller. Samples are independent; those that converged, or
    can go no further, leave the batch.

    Args:
        rtol: Residual at which a sample has converged, relative to |w|.
        max_iter: Most Newton steps.
        krylov: Solver of the linear systems; its `rtol` is the factor by which a step shrinks the
            residual near a solution, until rounding.
        coarse: Largest component of wave vectors that are solved for directly; 0 means none.

    References:
        Knoll and Keyes (2004), J. Comput. Phys. 193, 357, doi:10.1016/j.jcp.2003.08.010.
    """

    rtol: float = 1e-11
    max_iter: int = 20
    krylov: GMRES = field(default_factory=lambda: GMRES(100, rtol=1e-3, max_iter=200))
    coarse: int = 12

    @torch.no_grad()
    def solve(
        self, curl_f: Tensor, nu: Tensor, start: Tensor, rtol: Tensor | None = None
    ) -> NewtonResult:
        """Find the flows that forces hold steady, from given starts.

        Args:
            curl_f: Curl of the forces, shape `(n, N, N)`.
            nu: Viscosities, shape `(n,)`, positive.
            start: Vorticities to start from, shape `(n, N, N)`.
            rtol: Tolerance of each sample, shape `(n,)`; None means `rtol` for all.
        """
        n = len(curl_f)
        rtol = curl_f.new_full((n,), self.rtol) if rtol is None else rtol
        s = Spectral.of(curl_f)
        w = s.field(s.transform(start))
        phi, size = _residual(w, curl_f, nu)
        n_iter = torch.zeros(n, dtype=torch.int64, device=w.device)
        stuck = ~size.isfinite()
        history = [size]
        for _ in range(self.max_iter):
            active = ~stuck & (size > rtol)
            if not active.any():
                break
            part = w[active], phi[active], size[active]
            moved, new_phi, new_size, fell = self._step(*part, curl_f[active], nu[active])
            w[active], phi[active] = moved, new_phi
            size = size.index_put((active,), new_size)
            n_iter += active
            stuck = stuck.index_put((active,), ~fell)
            history.append(size)
        return NewtonResult(w, size <= rtol, n_iter, size, torch.stack(history))

    def _step(
        self, w: Tensor, phi: Tensor, size: Tensor, curl_f: Tensor, nu: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take a step; return iterate, residual, its size, and whether it fell."""
        s = Spectral.of(w)
        u = s.fine(s.velocity(s.transform(w)))
        inverse = s.inverse / nu[:, None, None]

        def derivative(change: Tensor) -> Tensor:
            v = s.fine(s.velocity(s.transform(change)))
            return change + s.field(2 * s.advection(u, v) * inverse)

        if self.coarse:
            coarse = CoarseSolve(w, nu, self.coarse)
            found = self.krylov.solve(lambda v: derivative(coarse(v)), -phi, Dense(len(w)))
            step = coarse(found.z)
        else:
            step = self.krylov.solve(derivative, -phi, Dense(len(w))).z
        share = torch.ones_like(size)
        best, best_phi, best_size = w, phi, size
        fell = torch.zeros_like(size, dtype=torch.bool)
        for _ in range(_HALVINGS):
            trial = w + share[:, None, None] * step
            trial_phi, trial_size = _residual(trial, curl_f, nu)
            better = ~fell & (_norm(trial_phi) < (1 - 1e-4 * share) * _norm(phi))
            take = better[:, None, None]
            best, best_phi = torch.where(take, trial, best), torch.where(take, trial_phi, best_phi)
            best_size = torch.where(better, trial_size, best_size)
            fell = fell | better
            if fell.all():
                break
            share = share / 2
        return best, best_phi, best_size, fell


def _residual(w: Tensor, curl_f: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
    """Return w - P(curl f - u . grad w) and its size relative to w."""
    s = Spectral.of(w)
    u = s.fine(s.velocity(s.transform(w)))
    left = (s.advection(u, u) - s.transform(curl_f)) * (s.inverse / nu[:, None, None])
    phi = w + s.field(left)
    return phi, _norm(phi) / torch.maximum(_norm(w), _norm(w - phi))


def _norm(field: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(field, dim=(-2, -1))
    return norm
