"""Explicit networks to compare with: one pass of the denoiser, and unfolded iterations."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from lit_implicit_imaging.batch import ImagingInput
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.operator import (
    AbstractImagingOperator,
    ImagingContext,
    ImagingStart,
    spectra,
)
from lit_implicit_imaging.pgd import ImagingPGD


class ImagingPass(nn.Module):
    """y = H(x, sigma): one pass of the denoiser over the observation, the paper's explicit model.

    On data without a blur, where the noise is all there is to remove, it trains the denoiser.

    Args:
        denoiser: The denoiser H; None means `ImagingDRUNet()`.
        sigma: Noise level that the denoiser is told to begin with, learned; None means that of
            each observation.

    Raises:
        ValueError: If the noise level is not positive.
    """

    def __init__(self, denoiser: nn.Module | None = None, sigma: float | None = 0.03) -> None:
        super().__init__()
        if sigma is not None and not sigma > 0:
            raise ValueError(f"`ImagingPass.sigma` must be positive or null, got {sigma}.")
        self.denoiser = ImagingDRUNet() if denoiser is None else denoiser
        self.log_sigma = None if sigma is None else nn.Parameter(torch.tensor(sigma).log())

    def forward(self, x: ImagingInput) -> Tensor:
        """Return the images, shape `(n, channels, height, width)`."""
        sigma = x.noise if self.log_sigma is None else self.log_sigma.exp()
        found: Tensor = self.denoiser(x.observation, sigma)
        return found


class ImagingUnfolded(nn.Module):
    """A fixed number of plug-and-play steps, each with weights of its own (Tables 3 and 4).

    Args:
        method: The step: `pgd` or `hqs`.
        depth: Number of steps; the number of weights grows with it.
        denoiser: The denoiser of the first step; the others begin as copies of it. None means
            `ImagingDRUNet()`.
        stepsize: Step size of all steps to begin with; None means that of the operator.
        sigma: Noise level of all steps to begin with.
        start: Where the first step begins; the paper's begins at the observation.

    Raises:
        ValueError: If the method is unknown or `depth` below 1.
    """

    def __init__(
        self,
        method: Literal["pgd", "hqs"] = "hqs",
        depth: int = 4,
        denoiser: nn.Module | None = None,
        stepsize: float | None = None,
        sigma: float = 0.03,
        start: ImagingStart = "observation",
    ) -> None:
        super().__init__()
        kinds: dict[str, type[AbstractImagingOperator]] = {"pgd": ImagingPGD, "hqs": ImagingHQS}
        if method not in kinds:
            raise ValueError(f"`ImagingUnfolded.method` must be pgd or hqs, got {method!r}.")
        if depth < 1:
            raise ValueError(f"`ImagingUnfolded.depth` must be at least 1, got {depth}.")
        first = ImagingDRUNet() if denoiser is None else denoiser
        sizes = {} if stepsize is None else {"stepsize": stepsize}
        self.steps = nn.ModuleList(
            kinds[method](copy.deepcopy(first), sigma=sigma, start=start, **sizes)
            for _ in range(depth)
        )

    def forward(self, x: ImagingInput) -> Tensor:
        """Return the images, shape `(n, channels, height, width)`."""
        known = spectra(x)  # the same for all steps, whose sizes differ
        start = z = self._operators[0].first(x.observation, *known)
        for operator in self._operators:
            z = operator(z, ImagingContext(*operator.data_step(*known), start))
        return z

    @property
    def _operators(self) -> list[AbstractImagingOperator]:
        return list(self.steps)  # type: ignore[arg-type]
