"""What plug-and-play operators share: a data step in the Fourier domain, then a denoiser."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator
from lit_implicit_imaging.batch import ImagingInput
from lit_implicit_imaging.blur import transfer_function
from lit_implicit_imaging.denoiser import ImagingDRUNet

ImagingStart = Literal["zero", "observation", "adjoint", "pseudo_inverse"]

_SMALL = 1e-2
"""Singular values of A below this part of the largest are 0 to the pseudo-inverse."""


@dataclass(frozen=True, eq=False)
class ImagingContext:
    """What G sees of its input: everything about the blur that no iteration changes.

    Args:
        factor: What the data step multiplies the image's spectrum with, shape
            `(n, 1, height, width // 2 + 1)`, real.
        offset: What it adds to the spectrum, shape `(n, channels, height, width // 2 + 1)`,
            complex.
        start: Initial iterate, shape `(n, channels, height, width)`.
    """

    factor: Tensor
    offset: Tensor
    start: Tensor


class AbstractImagingOperator(AbstractOperator):
    """G(z, x) = H(D(z, x), sigma): a step D towards the data x, then a denoiser H.

    The state is an image, and the answer. A is a circular blur, so D is diagonal in the Fourier
    domain, and affine in z: one transform there, one back, whatever the method. Step size and
    noise level are learned; they stay positive, as their logarithms are the parameters.

    Args:
        denoiser: The denoiser H; None means `ImagingDRUNet()`.
        stepsize: Step size of the data step to begin with.
        sigma: Noise level that the denoiser is told, to begin with.
        start: Initial iterate: zero, the observation x, A^T x, or the pseudo-inverse of A at x
            (which amplifies noise up to a hundredfold).

    Raises:
        ValueError: If a number is not positive, or the start is unknown.
    """

    def __init__(
        self,
        denoiser: nn.Module | None = None,
        stepsize: float = 1.0,
        sigma: float = 0.03,
        start: ImagingStart = "zero",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        for key, value in {"stepsize": stepsize, "sigma": sigma}.items():
            if not 0 < value < float("inf"):
                raise ValueError(f"`{name}.{key}` must be positive, got {value}.")
        if start not in get_args(ImagingStart):
            raise ValueError(
                f"`{name}.start` must be one of {', '.join(get_args(ImagingStart))}, got {start!r}."
            )
        self.denoiser = ImagingDRUNet() if denoiser is None else denoiser
        self.log_stepsize = nn.Parameter(torch.tensor(stepsize).log())
        self.log_sigma = nn.Parameter(torch.tensor(sigma).log())
        self.start: ImagingStart = start

    @abstractmethod
    def data_step(self, power: Tensor, adjoint: Tensor) -> tuple[Tensor, Tensor]:
        """Return factor and offset of the data step in the Fourier domain.

        Args:
            power: |h|^2, the spectrum of A^T A, shape `(n, 1, height, width // 2 + 1)`.
            adjoint: Spectrum of A^T x, shape `(n, channels, height, width // 2 + 1)`.
        """

    def encode(self, x: ImagingInput) -> ImagingContext:
        """Transform the observation and the kernel."""
        power, adjoint = spectra(x)
        start = self.first(x.observation, power, adjoint)
        return ImagingContext(*self.data_step(power, adjoint), start)

    def init_state(self, c: ImagingContext, generator: torch.Generator | None = None) -> Tensor:
        """Return the start; nothing is drawn."""
        return c.start

    def forward(self, z: Tensor, c: ImagingContext) -> Tensor:
        """Apply the data step and the denoiser."""
        # Transforms know no bfloat16, which a denoiser may return under autocast.
        spectrum = torch.fft.rfft2(z.to(c.start.dtype)) * c.factor + c.offset
        image = torch.fft.irfft2(spectrum, s=z.shape[-2:])
        found: Tensor = self.denoiser(image, self.log_sigma.exp())
        return found

    def first(self, image: Tensor, power: Tensor, adjoint: Tensor) -> Tensor:
        """Return the initial iterate, given the observation and its spectra."""
        if self.start == "zero":
            return torch.zeros_like(image)
        if self.start == "observation":
            return image
        if self.start == "pseudo_inverse":
            least = _SMALL**2 * power.amax(dim=(-2, -1), keepdim=True)
            adjoint = (adjoint / power).where(power > least, 0.0)
        found: Tensor = torch.fft.irfft2(adjoint, s=image.shape[-2:])
        return found


def spectra(x: ImagingInput) -> tuple[Tensor, Tensor]:
    """Return |h|^2 and the spectrum of A^T x, as `data_step` takes them."""
    size = x.observation.shape[-2], x.observation.shape[-1]
    transfer = transfer_function(x.kernel, size)
    power = transfer.real.square() + transfer.imag.square()
    return power, torch.fft.rfft2(x.observation) * transfer.conj()
