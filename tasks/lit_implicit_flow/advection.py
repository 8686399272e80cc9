"""The derivative of advection on a few waves, as a dense matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AdvectionMatrix:
    """The map from a vorticity w to the matrix of w' -> u . grad w' + u' . grad w.

    Rows and columns are real and then imaginary parts of the amplitudes of waves. On a wave q the
    derivative puts, at k = p + q, (p x q) (1 / |p|^2 - 1 / |q|^2) w_p, and of a real field the
    amplitude at -q is the conjugate of that at q: each entry is the sum of two parts of amplitudes
    of w, times factors. Which parts, and the factors, depend on the waves alone; they are found
    once.

    Args:
        shape: Numbers of rows and columns of the matrix.
        places: Places in a spectrum of w, its parts in a row, shape `(2, rows * columns)`.
        factors: The factors, of that shape.
    """

    shape: tuple[int, int]
    places: Tensor
    factors: Tensor

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, n: int, dtype: torch.dtype) -> "AdvectionMatrix":
        """Return the map for waves of a grid.

        Args:
            rows: Wave vectors k, one of each pair k, -k, shape `(rows, 2)`.
            columns: Wave vectors q, likewise, shape `(columns, 2)`.
            n: Points a side.
            dtype: Of the matrices.
        """
        # Of the amplitudes at k - q, and of their mates at k + q, by which w'_q comes conjugated.
        direct, mate = _entries(rows, columns, n, 1), _entries(rows, -columns, n, -1)
        places, factors = (torch.stack(pair).flatten(1) for pair in zip(direct, mate, strict=True))
        shape = 2 * len(rows), 2 * len(columns)
        return cls(shape, places, factors.to(dtype) / n**2)

    def __call__(self, spectrum: Tensor) -> Tensor:
        """Return the matrices, shape `(n, rows, columns)`.

        Args:
            spectrum: Spectra of w as `rfft2` gives them, not divided by the number of points, shape
                `(n, N, N // 2 + 1)`.
        """
        parts = torch.view_as_real(spectrum).flatten(1)
        # Not by indexing with brackets, which takes six times as long.
        direct, mate = (parts.index_select(1, place) for place in self.places)
        found = torch.addcmul(direct * self.factors[0], mate, self.factors[1])
        return found.reshape(-1, *self.shape)


def _entries(rows: Tensor, columns: Tensor, n: int, sign: int) -> tuple[Tensor, Tensor]:
    """Return places and factors of one amplitude in each entry, shape `(2 rows, 2 columns)`.

    With c the amplitude, w' -> c w' is [[Re c, -Im c], [Im c, Re c]], and w' -> c times the
    conjugate of w' is [[Re c, Im c], [Im c, -Re c]] (`sign` -1).
    """
    place, real, imag = _coupled(rows, columns, n)
    places = _blocks(2 * place, 2 * place + 1, 2 * place + 1, 2 * place)
    return places, _blocks(real, -sign * imag, imag, sign * real)


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cat([a, b], dim=1), torch.cat([c, d], dim=1)])


def _coupled(rows: Tensor, columns: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each k and q, where w_p stands, and the factors of its real and imaginary part.

    Spectra of real fields hold the half of ky >= 0: elsewhere w_p is the conjugate of w_-p.
    """
    k, q = rows[:, None], columns[None]
    p = k - q
    cross = p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]
    squares = (v.square().sum(dim=-1).double() for v in (p, q))
    inverse = [torch.where(s > 0, 1.0 / s.clamp_min(1), 0.0) for s in squares]
    known = (2 * p.abs() < n).all(dim=-1)
    sign = 1 - 2 * (p[..., 1] < 0).long()
    place = (sign * p[..., 0] % n) * (n // 2 + 1) + p[..., 1].abs()
    factor = cross * (inverse[0] - inverse[1]) * known
    return torch.where(known, place, 0), factor, factor * sign
