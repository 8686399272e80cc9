"""The linearised equation on a few long waves, as a dense matrix, and its direct solve."""

import torch
from torch import Tensor

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
        self.waves = half_plane(min(limit, (w.shape[-1] - 1) // 2)).to(w.device)
        matrix = advection_matrix(torch.fft.fft2(w, norm="forward"), self.waves, self.waves)
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


def advection_matrix(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return u . grad w' + u' . grad w as a real matrix, from amplitudes of w' to its amplitudes.

    On a wave q the linearised advection puts, at k = p + q, (p x q) (1 / |p|^2 - 1 / |q|^2) w_p.

    Args:
        table: Spectra of w as of `torch.fft.fft2(w, norm="forward")`, shape `(n, N, N)`.
        rows: Wave vectors k, one of each pair k, -k, shape `(rows, 2)`.
        columns: Wave vectors q, likewise, shape `(columns, 2)`.

    Returns:
        Shape `(n, 2 rows, 2 columns)`: of both sides, the real parts and then the imaginary ones.
    """
    plus, minus = (_coupling(table, rows, sign * columns) for sign in (1, -1))
    # Of a real field the amplitude at -q is the conjugate of that at q.
    total, difference = plus + minus, plus - minus
    real = torch.cat([total.real, -difference.imag], dim=2)
    imag = torch.cat([total.imag, difference.real], dim=2)
    return torch.cat([real, imag], dim=1)


def _coupling(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return what each wave q puts at each k, shape `(n, rows, columns)`."""
    n = table.shape[-1]
    k, q = rows[:, None], columns[None]
    p = k - q
    cross = p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]
    squares = (v.square().sum(dim=-1).to(table.real.dtype) for v in (p, q))
    inverse = [torch.where(s > 0, 1.0 / s.clamp_min(1), 0.0) for s in squares]
    known = (2 * p.abs() < n).all(dim=-1)
    factor = cross * (inverse[0] - inverse[1]) * known
    return table[:, p[..., 0] % n, p[..., 1] % n] * factor
