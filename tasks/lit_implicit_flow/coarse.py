"""The linearised equation on a few long waves, as a dense matrix, and its direct solve."""

from functools import lru_cache

import torch
from torch import Tensor

from lit_implicit_flow.advection import AdvectionMatrix
from lit_implicit_flow.spectral import Spectral
from lit_implicit_flow.waves import amplitudes, half_plane, spectrum_of


class CoarseSolve:
    """Solves w' + P(u . grad w' + u' . grad w) = r for waves up to a limit, P as in `NewtonKrylov`.

    Longer wave vectors are left as they are: there viscosity rules. The matrix is factorised once
    for each sample.

    Args:
        w: Where the equation is linearised, shape `(n, N, N)`.
        nu: Viscosities, shape `(n,)`.
        limit: Largest component of the wave vectors; at most those of the grid are taken.
    """

    def __init__(self, w: Tensor, nu: Tensor, limit: int) -> None:
        self.spectral = Spectral.of(w)
        self.waves, advection = _waves(limit, w.shape[-1], w.dtype, w.device)
        matrix = advection(self.spectral.transform(w))
        square = self.waves.square().sum(dim=1).to(w).repeat(2)
        matrix = matrix / (nu[:, None, None] * square[:, None])
        matrix.diagonal(dim1=1, dim2=2).add_(1.0)
        self.factors = torch.linalg.lu_factor(matrix)

    def __call__(self, r: Tensor) -> Tensor:
        """Return the fields with the long waves solved for, shape `(n, N, N)`."""
        given = amplitudes(self.spectral.transform(r), self.waves)
        parts = torch.cat([given.real, given.imag], dim=1)[..., None]
        real, imag = torch.linalg.lu_solve(*self.factors, parts)[..., 0].chunk(2, dim=1)
        change = torch.complex(real, imag) - given
        return r + self.spectral.field(spectrum_of(change, self.waves, self.spectral.n))


@lru_cache(maxsize=4)
def _waves(
    limit: int, n: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, AdvectionMatrix]:
    with torch.inference_mode(False):  # kept for later calls
        waves = half_plane(min(limit, (n - 1) // 2)).to(device)
        return waves, AdvectionMatrix.of(waves, waves, n, dtype)
