"""Laws of random fields: band-limited, of a given spectrum, at any resolution the same ones."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_implicit_flow.waves import half_disk, spectrum_of

Family = Literal["random", "kolmogorov", "mixed"]
Spectrum = Literal["peaked", "flat"]

VERSION = 1
"""Number of the generator: it changes with whatever it draws."""

_SHEAR = 0.5
"""Share of the variance that the shear of a Kolmogorov flow has."""


@dataclass(frozen=True)
class FlowFamily:
    """The law of a scalar field of mean zero with wavenumbers up to a limit.

    A field is a Gaussian one, whose wave vectors have independent amplitudes of a variance that
    depends on their length alone. Of the family `kolmogorov`, half of the variance is a shear
    sin(m s + phase) with m the peak's wavenumber and s either x or y, as under Kolmogorov's
    forcing; of `mixed`, each sample is of either kind by chance.

    Args:
        family: `random`, `kolmogorov` or `mixed`.
        spectrum: Variance of a wave vector k: `peaked`, q exp(-q) with q = (|k| / peak)^2; or
            `flat`, the same for all.
        peak_wavenumber: Length at which `peaked` is largest, and the wavenumber of the shear.
        max_wavenumber: Largest length of a wave vector.
    """

    family: Family = "random"
    spectrum: Spectrum = "peaked"
    peak_wavenumber: int = 2
    max_wavenumber: int = 5

    @cached_property
    def waves(self) -> NDArray[np.int64]:
        """One of each pair k, -k of wave vectors, shape `(waves, 2)`."""
        waves: NDArray[np.int64] = half_disk(self.max_wavenumber).numpy()
        return waves

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of the variance of each of `waves` in a Gaussian field, shape `(waves,)`."""
        q = (self.waves**2).sum(axis=1) / self.peak_wavenumber**2
        weights = q * np.exp(1 - q) if self.spectrum == "peaked" else np.ones(len(q))
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    @property
    def mean_inverse_square(self) -> float:
        """Mean of 1 / |k|^2 over the variance: mean square of u over that of its curl."""
        gaussian = float((self.shares / (self.waves**2).sum(axis=1)).sum())
        shear = {"random": 0.0, "kolmogorov": _SHEAR, "mixed": _SHEAR / 2}[self.family]
        return shear / self.peak_wavenumber**2 + (1 - shear) * gaussian

    def draw(self, n: int, seed: int, stream: int, indices: range) -> Tensor:
        """Draw fields of expected mean square 1.

        Each is a function of (seed, stream, index): the same at any resolution and in any batch.

        Args:
            n: Points a side, more than twice `max_wavenumber`.
            seed: Seed of the data set.
            stream: Number of the split.
            indices: Numbers of the fields.

        Returns:
            Shape `(len(indices), n, n)`, float64.
        """
        amplitudes = torch.from_numpy(np.stack([self._draw(seed, stream, i) for i in indices]))
        spectrum = spectrum_of(amplitudes, torch.from_numpy(self.waves), n)
        field: Tensor = torch.fft.irfft2(spectrum, s=(n, n), norm="forward")
        return field

    def _draw(self, seed: int, stream: int, index: int) -> NDArray[np.complex128]:
        """Return the amplitude c of each wave, 2 Re(c exp(i k x)) in the field."""
        draws = np.random.default_rng((seed, stream, index))
        coin, along, phase = draws.random(3)  # first, so that each is from the same place
        parts = draws.standard_normal((2, len(self.waves)))
        amplitudes: NDArray[np.complex128] = np.sqrt(self.shares) / 2 * (parts[0] + 1j * parts[1])
        if self.family == "kolmogorov" or (self.family == "mixed" and coin < 0.5):
            m = self.peak_wavenumber
            shear = (self.waves == ((m, 0) if along < 0.5 else (0, m))).all(axis=1)
            amplitudes *= np.sqrt(1 - _SHEAR)
            amplitudes[shear] += np.sqrt(_SHEAR / 2) * np.exp(2j * np.pi * phase)
        return amplitudes
