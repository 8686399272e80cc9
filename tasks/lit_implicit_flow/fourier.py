"""Fourier layers: spectral convolutions of neuraloperator, in any precision and at any size."""

import torch
from neuralop.layers.spectral_convolution import SpectralConv
from torch import Tensor, nn

from lit_implicit.errors import ConfigError, DataError


class FlowSpectralConv(SpectralConv):
    """neuraloperator's spectral convolution over wavenumbers -m .. m - 1 and 0 .. m - 1.

    Its weights, with transforms of our own: neuraloperator 2.0 computes in single precision
    whatever the input, and moves all frequencies by one where a side is odd, as shifting twice by
    half of an odd length is no whole turn. At even sides, in single precision, the answers agree.

    Args:
        width: Number of channels.
        modes: The number m of wavenumbers along the last axis; there are 2 m along the other.
    """

    def __init__(self, width: int, modes: int) -> None:
        super().__init__(width, width, (2 * modes, 2 * modes - 1), bias=False)
        self.modes = modes
        weight = self.weight.to_tensor()
        with torch.no_grad():  # as the first FNO, and the paper
            weight.copy_(torch.rand(weight.shape, dtype=weight.dtype) / width**2)

    def forward(self, z: Tensor) -> Tensor:
        """Convolve fields, shape `(n, width, rows, columns)`.

        Along the rows only the m columns that are kept are transformed.

        Raises:
            ConfigError: If the weights were cast to a real dtype: they have lost what is imaginary.
        """
        rows, columns = z.shape[-2:]
        m = self.modes
        given = self.weight.to_tensor()
        if not given.is_complex():
            remedy = (
                "Cast the module by `.double()`, or use `--trainer.precision 64-true`."
                if given.dtype == torch.float64
                else "Use `--trainer.precision bf16-mixed` or `16-mixed`, which leave weights as "
                "they are."
            )
            raise ConfigError(
                f"Spectral convolutions have complex weights, which {given.dtype} does not hold: "
                f"half of each number is lost. {remedy}"
            )
        # Transforms know no half precision.
        wide = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        kept = torch.fft.rfft(wide, norm="forward")[..., :m]
        spectrum = torch.fft.fft(kept, dim=-2, norm="forward")
        low = torch.cat([spectrum[:, :, -m:], spectrum[:, :, :m]], dim=2)
        mixed = torch.einsum("nixy,ioxy->noxy", low, given.to(low.dtype))
        gap = mixed.new_zeros(*mixed.shape[:2], rows - 2 * m, m)
        spectrum = torch.cat([mixed[:, :, m:], gap, mixed[:, :, :m]], dim=2)
        lines = torch.fft.ifft(spectrum, dim=-2, norm="forward")
        field: Tensor = torch.fft.irfft(lines, n=columns, norm="forward")
        return field


class PointwiseLinear(nn.Conv2d):
    """A convolution with kernels of one point, as a product of matrices for each sample.

    On a CPU that takes a fifth of the time of torch's convolution at 16 channels.

    Args:
        n_in: Number of channels given.
        n_out: Number of channels returned.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Map the channels of fields, shape `(n, n_in, rows, columns)`."""
        assert self.bias is not None
        weight = self.weight.flatten(1).expand(len(z), -1, -1)
        found = torch.baddbmm(self.bias[:, None], weight, z.flatten(2))
        return found.reshape(*found.shape[:2], *z.shape[2:])


def instance_norm(width: int) -> nn.GroupNorm:
    """Return the normalization of each channel of each sample, without weights.

    torch's `InstanceNorm2d` is the same function and takes several times as long on a CPU.
    """
    return nn.GroupNorm(width, width, affine=False)


class FourierLayer(nn.Module):
    """z -> act(N(MLP(N(spectral convolution of z))) + N(1x1 convolution of z) + injection).

    Args:
        width: Number of channels.
        modes: Wavenumbers of the spectral convolution.
        normalize: Whether N is instance normalization, without weights; else it is nothing.
        activate: Whether act is GELU; else it is nothing.
    """

    def __init__(self, width: int, modes: int, *, normalize: bool, activate: bool = True) -> None:
        super().__init__()
        self.spectral = FlowSpectralConv(width, modes)
        self.mlp = nn.Sequential(
            PointwiseLinear(width, width), nn.GELU(), PointwiseLinear(width, width)
        )
        self.skip = PointwiseLinear(width, width)
        self.norm = instance_norm(width) if normalize else nn.Identity()
        self.act = nn.GELU() if activate else nn.Identity()

    def forward(self, z: Tensor, injection: Tensor | None = None) -> Tensor:
        """Apply the layer to fields, shape `(n, width, rows, columns)`."""
        found = self.norm(self.mlp(self.norm(self.spectral(z)))) + self.norm(self.skip(z))
        activated: Tensor = self.act(found if injection is None else found + injection)
        return activated


class FourierFrame(nn.Module):
    """What stands before and behind the Fourier layers: lifting, padding, projection.

    Args:
        width: Number of channels.
        modes: Wavenumbers of the last spectral convolution.
        padding: Points of zeros on the right and below, as FNO has them where fields are not
            periodic.
        positions: Give the network the place x / 2 pi, y / 2 pi of each point: then its answers
            move with the force no longer.
    """

    def __init__(self, width: int, modes: int, padding: int, positions: bool) -> None:
        super().__init__()
        given = {"width": (width, 1), "modes": (modes, 1), "padding": (padding, 0)}
        for name, (value, least) in given.items():
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        self.modes, self.padding, self.positions = modes, padding, positions
        self.lift = PointwiseLinear(4 if positions else 2, width)
        self.last = FourierLayer(width, modes, normalize=True, activate=False)
        self.head = nn.Sequential(PointwiseLinear(width, 128), nn.GELU(), PointwiseLinear(128, 1))

    def encode(self, force: Tensor) -> Tensor:
        """Lift forces, shape `(n, 2, N, N)`, to padded fields `(n, width, N + padding, ...)`.

        Raises:
            ConfigError: If forces and weights differ in precision.
            DataError: If a field is not square, or has fewer points a side than twice the modes.
        """
        n, _, rows, side = force.shape
        if rows != side:
            raise DataError(
                f"Expected forces of N x N points, got {rows} x {side}. The periodic square has as "
                "many points along x as along y; cut or resample them."
            )
        if side < 2 * self.modes:
            raise DataError(
                f"Expected at least {2 * self.modes} points a side, as `modes` is {self.modes}, "
                f"got {side}. Take fewer modes, or data of a higher resolution."
            )
        dtype = self.lift.weight.dtype
        is_cast = torch.is_autocast_enabled(force.device.type)  # but for double precision
        if force.dtype != dtype and (torch.float64 in (force.dtype, dtype) or not is_cast):
            raise ConfigError(
                f"The forces are {force.dtype}, the network's weights {dtype}. Give both "
                "the same: `data.dtype` float32 with `--trainer.precision 32-true`, float64 with "
                "`64-true`."
            )
        if self.positions:
            points = torch.arange(side, dtype=force.dtype, device=force.device) / side
            places = torch.stack(torch.meshgrid(points, points, indexing="ij"))
            force = torch.cat([force, places.expand(n, -1, -1, -1)], dim=1)
        return nn.functional.pad(self.lift(force), (0, self.padding, 0, self.padding))

    def decode(self, z: Tensor) -> Tensor:
        """Map padded fields to answers, shape `(n, 1, N, N)`."""
        side = z.shape[-1] - self.padding
        answer: Tensor = self.head(self.last(z)[..., :side, :side])
        return answer
