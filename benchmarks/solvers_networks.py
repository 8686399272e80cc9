"""Problems whose G is a network as implicit layers are made of, with drawn weights."""

from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit import AbstractOperator, Equilibrium
from solvers_problems import Problem, draw

RATE = 0.9
"""Residuals fall by this factor at each plain iteration, once they have settled."""


@torch.no_grad()
def calibrate(operator: AbstractOperator, x: Any, scaled: nn.Parameter, rate: float = RATE) -> None:
    """Scale a parameter until plain iteration converges at a rate, that of the largest residual.

    Args:
        operator: The operator, in float64.
        x: Its input.
        scaled: The parameter that is scaled.
        rate: The rate.
    """
    for _ in range(8):
        scaled.mul_(rate / measured_rate(operator, x))


def measured_rate(operator: AbstractOperator, x: Any, most: int = 200) -> float:
    """Return by how much residuals fall an iteration, over the later half of a plain solve."""
    g, z = Equilibrium(operator).bind(x)
    residuals: list[float] = []
    for _ in range(most):
        gz = g(z)
        residuals.append(g.layout.norm(gz - z).max().item())
        if residuals[-1] < 1e-10 * g.layout.norm(gz).max().item():
            break
        z = gz
    n = len(residuals) // 2
    return (residuals[-1] / residuals[-1 - n]) ** (1 / n)  # type: ignore[no-any-return]


class FourierLayer(AbstractOperator):
    """G(z, x) = gelu(gain (K z + W z) + x): a layer of a Fourier neural operator with injection.

    K multiplies the lowest frequencies by complex matrices, W mixes channels at each point.

    Args:
        channels: Features at each point.
        modes: Frequencies that are kept along each axis.

    References:
        Li et al. (2021), arXiv:2010.08895, equation 2.
    """

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        size = (channels, channels, 2 * modes, modes, 2)
        self.weight = nn.Parameter(draw(*size, seed=1) / channels)
        self.mix = nn.Conv2d(channels, channels, 1, dtype=torch.float64)
        self.gain = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        m, spectrum = self.modes, torch.fft.rfft2(z, norm="ortho")
        low = torch.cat([spectrum[..., :m, :m], spectrum[..., -m:, :m]], dim=-2)
        low = torch.einsum("nihw,iohw->nohw", low, torch.view_as_complex(self.weight))
        kept = torch.zeros_like(spectrum)
        kept[..., :m, :m], kept[..., -m:, :m] = low[..., :m, :], low[..., m:, :]
        smooth = torch.fft.irfft2(kept, s=z.shape[-2:], norm="ortho")
        return nn.functional.gelu(self.gain * (smooth + self.mix(z)) + c)


class TransformerBlock(AbstractOperator):
    """G(z, x) = x + gain T(z), T a pre-norm transformer layer of torch; z is (n, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True, dtype=torch.float64,
        )  # fmt: skip
        self.gain = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return c + self.gain * self.layer(z)


class ProximalStep(AbstractOperator):
    """G(z, y) = (1 - s) u + s D(u), u = z - (A'(A z - y) + z / 10): plug-and-play with a blur A.

    D is the denoiser DRUNet of deepinv, with weights drawn and small.

    Args:
        channels: Of DRUNet, at its four scales.
        share: s.
    """

    def __init__(self, channels: list[int], share: float = 0.2) -> None:
        super().__init__()
        from deepinv.models import DRUNet

        self.denoiser = DRUNet(nc=channels, nb=2, pretrained=None).double()
        self.share = share
        bump = torch.exp(-torch.linspace(-2, 2, 9, dtype=torch.float64).square())
        kernel = torch.outer(bump, bump) / bump.sum() ** 2
        self.register_buffer("kernel", kernel.expand(3, 1, 9, 9).clone())

    def blur(self, z: Tensor) -> Tensor:
        """Apply A, which is symmetric."""
        assert isinstance(self.kernel, Tensor)
        return nn.functional.conv2d(
            nn.functional.pad(z, (4, 4, 4, 4), mode="circular"), self.kernel, groups=3
        )

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        u = z - self.blur(self.blur(z) - c) - 0.1 * z
        return (1 - self.share) * u + self.share * self.denoiser(u, 0.05)


def fourier_layer(name: str, device: torch.device) -> Problem:
    """Return a Fourier layer on 4 fields of 16 channels and 32 x 32 points."""
    operator, x = FourierLayer(16, 8), draw(4, 16, 32, 32, seed=7)
    calibrate(operator, x, operator.gain)
    return Problem.at(device, name, operator, x)


def transformer_block(name: str, device: torch.device) -> Problem:
    """Return a transformer layer on 8 sequences of 32 tokens of width 128."""
    operator, x = TransformerBlock(128, 4), draw(8, 32, 128, seed=7)
    calibrate(operator, x, operator.gain)
    return Problem.at(device, name, operator, x)


def proximal_step(name: str, device: torch.device) -> Problem:
    """Return a plug-and-play step on 4 images; on a CPU they and DRUNet are small.

    Raises:
        ImportError: If deepinv is not installed.
    """
    large = device.type == "cuda"
    channels, size = ([64, 128, 256, 512], 64) if large else ([8, 16, 32, 64], 32)
    operator, y = ProximalStep(channels), draw(4, 3, size, size, seed=7)
    note = f"4 x 3 x {size} x {size}, DRUNet of {' '.join(map(str, channels))} channels"
    return Problem.at(device, name, operator, y, note=note)
