"""Fourier series on the periodic square: wavenumbers, derivatives, and products without aliasing.

The square is [0, 2 pi)^2. Fields are samples on N x N points, shape `(..., N, N)`: x runs along the
first of the two axes, y along the second. Spectra are `torch.fft.rfft2` of fields, shape
`(..., N, N // 2 + 1)`. Of an even N the wavenumber N / 2 has no derivative that is real; it is left
out throughout.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Spectral:
    """The wavenumbers of a grid, and what is done with them.

    Products are formed on a grid of 3/2 N points a side and cut back to the wavenumbers below
    N / 2: those that are kept are two thirds of the fine grid's, so a product of two fields is free
    of aliasing (Orszag's rule).

    Args:
        n: Number N of points a side.
        kx: Wavenumbers along x, shape `(N, 1)`; 0 where N / 2 was.
        ky: Wavenumbers along y, shape `(1, N // 2 + 1)`; 0 where N / 2 was.
        kept: 1 where both wavenumbers are below N / 2 and not both are zero, else 0; shape
            `(N, N // 2 + 1)`.
        inverse: 1 / (kx^2 + ky^2) where `kept`, else 0.

    References:
        Orszag (1971), J. Atmos. Sci. 28, 1074, doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2.
    """

    n: int
    kx: Tensor
    ky: Tensor
    kept: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, field: Tensor) -> "Spectral":
        """Return the wavenumbers of a field's grid, in its precision and on its device.

        Raises:
            ValueError: If the last two axes are not of one length, of at least 4.
        """
        rows, columns = field.shape[-2:] if field.ndim > 1 else (0, 0)
        if rows != columns or rows < 4:
            raise ValueError(
                "Expected fields of shape (..., N, N) with N of at least 4, got "
                f"{tuple(field.shape)}. The periodic square has as many points along x as along y."
            )
        return _spectral(rows, field.dtype, field.device)

    @property
    def square(self) -> Tensor:
        """kx^2 + ky^2, minus the Laplacian's symbol; shape `(N, N // 2 + 1)`."""
        return self.kx.square() + self.ky.square()

    def transform(self, field: Tensor) -> Tensor:
        """Return the spectrum of a field, without its mean and without wavenumber N / 2."""
        spectrum: Tensor = torch.fft.rfft2(field)
        return spectrum * self.kept

    def field(self, spectrum: Tensor) -> Tensor:
        """Return the field of a spectrum."""
        field: Tensor = torch.fft.irfft2(spectrum, s=(self.n, self.n))
        return field

    def velocity(self, vorticity: Tensor) -> Tensor:
        """Return the spectra of the velocity, shape `(..., 2, N, N // 2 + 1)`, of a vorticity's.

        u = (d psi / dy, -d psi / dx) with -Lap psi = w: divergence-free, of mean zero, and with
        curl u = du_2/dx - du_1/dy = w.
        """
        stream = vorticity * self.inverse
        return torch.stack([1j * self.ky * stream, -1j * self.kx * stream], dim=-3)

    def curl(self, vector: Tensor) -> Tensor:
        """Return the spectrum of d v_2 / dx - d v_1 / dy."""
        return 1j * (self.kx * vector[..., 1, :, :] - self.ky * vector[..., 0, :, :])

    def divergence(self, vector: Tensor) -> Tensor:
        """Return the spectrum of d v_1 / dx + d v_2 / dy."""
        return 1j * (self.kx * vector[..., 0, :, :] + self.ky * vector[..., 1, :, :])

    def fine(self, spectrum: Tensor) -> Tensor:
        """Return the field of a spectrum on the grid on which products are formed."""
        m, half = _fine_side(self.n), (self.n + 1) // 2
        upper, lower = spectrum[..., :half, :half], spectrum[..., 1 - half :, :half]
        middle = spectrum.new_zeros(*spectrum.shape[:-2], m - 2 * half + 1, half)
        rows = torch.cat([upper, middle, lower], dim=-2)
        field: Tensor = torch.fft.irfft2(rows, s=(m, m), norm="forward")
        return field / self.n**2

    def coarse(self, field: Tensor) -> Tensor:
        """Return the spectrum of a field on the fine grid, cut back to the wavenumbers kept."""
        half = (self.n + 1) // 2
        spectrum = torch.fft.rfft2(field, norm="forward")[..., :half]
        gap = spectrum.new_zeros(*spectrum.shape[:-2], self.n - 2 * half + 1, half)
        rows = torch.cat([spectrum[..., :half, :], gap, spectrum[..., 1 - half :, :]], dim=-2)
        rows = torch.nn.functional.pad(rows, (0, self.n // 2 + 1 - half))
        return rows * (self.kept * self.n**2)

    def advection(self, u: Tensor, v: Tensor) -> Tensor:
        """Return the spectrum of B(u, v) = (u . grad curl v + v . grad curl u) / 2.

        It is the curl of the divergence of the symmetric part of u v^T (Basdevant's form): two
        transforms in place of three. B(u, u) is the advection of vorticity, 2 B(u, v) its
        derivative at u in the direction v.

        Args:
            u: A velocity on the fine grid (`fine`), shape `(..., 2, M, M)`; divergence-free.
            v: Another.

        References:
            Basdevant (1983), J. Comput. Phys. 50, 209, doi:10.1016/0021-9991(83)90064-5.
        """
        u1, u2 = u.unbind(dim=-3)
        v1, v2 = v.unbind(dim=-3)
        cross = (u1 * v2 + u2 * v1) / 2
        products = self.coarse(torch.stack([cross, u2 * v2 - u1 * v1], dim=-3))
        kx, ky = self.kx, self.ky
        cross, normal = products.unbind(dim=-3)
        return (ky.square() - kx.square()) * cross - kx * ky * normal


def _fine_side(n: int) -> int:
    """Return the least even number of points of at least 3/2 n."""
    return 2 * ((3 * n + 3) // 4)


@lru_cache(maxsize=16)
def _spectral(n: int, dtype: torch.dtype, device: torch.device) -> Spectral:
    with torch.inference_mode(False):  # kept for later calls, which may record gradients
        kx = torch.fft.fftfreq(n, 1 / n, dtype=dtype, device=device).round()[:, None]
        ky = torch.fft.rfftfreq(n, 1 / n, dtype=dtype, device=device).round()[None]
        kept = (2 * kx.abs() < n) & (2 * ky < n)
        kx, ky = kx * (2 * kx.abs() < n), ky * (2 * ky < n)
        square = kx.square() + ky.square()
        kept = kept & (square > 0)
        inverse = torch.where(kept, 1 / torch.where(kept, square, 1.0), 0.0)
        return Spectral(n, kx, ky, kept.to(dtype), inverse)
