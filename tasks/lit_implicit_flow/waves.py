"""Real fields as amplitudes of a few waves: one wave vector of each pair k, -k."""

import torch
from torch import Tensor


def half_plane(limit: int) -> Tensor:
    """Return one of each pair k, -k of wave vectors with both components up to a limit.

    Returns:
        Shape `(waves, 2)`, integers: ky > 0, or ky = 0 and kx > 0.
    """
    kx, ky = torch.meshgrid(torch.arange(-limit, limit + 1), torch.arange(limit + 1), indexing="ij")
    kept = (ky > 0) | (kx > 0)
    return torch.stack([kx[kept], ky[kept]], dim=1)


def half_disk(radius: int, n: int | None = None) -> Tensor:
    """Return one of each pair k, -k of wave vectors with 0 < |k| <= radius.

    Args:
        radius: Largest length.
        n: Leave out components of at least n / 2: those that n points a side do not hold.

    Returns:
        Shape `(waves, 2)`, integers, in the order of `half_plane`.
    """
    waves = half_plane(radius if n is None else min(radius, (n - 1) // 2))
    return waves[waves.square().sum(dim=1) <= radius**2]


def amplitudes(spectrum: Tensor, waves: Tensor) -> Tensor:
    """Take the amplitudes of waves out of a spectrum of real fields.

    Args:
        spectrum: Shape `(..., N, N // 2 + 1)`.
        waves: Shape `(waves, 2)`, below N / 2.

    Returns:
        Shape `(..., waves)`.
    """
    return spectrum[..., waves[:, 0] % spectrum.shape[-2], waves[:, 1]]


def spectrum_of(values: Tensor, waves: Tensor, n: int) -> Tensor:
    """Return the spectrum, `(..., N, N // 2 + 1)`, of the real fields with these amplitudes.

    Args:
        values: Shape `(..., waves)`, complex.
        waves: Shape `(waves, 2)`, below N / 2.
        n: Points N a side.
    """
    rows, columns = waves.T
    spectrum = values.new_zeros(*values.shape[:-1], n, n // 2 + 1)
    spectrum[..., rows % n, columns] = values
    on_axis = columns == 0  # -k lies in the half that is stored, too; others are written twice
    mirrored = torch.where(on_axis, -rows % n, rows % n)
    spectrum[..., mirrored, columns] = torch.where(on_axis, values.conj(), values)
    return spectrum
