"""Fourier layers: spectral convolutions of neuraloperator, in any precision and at any size."""

import torch
from neuralop.layers.spectral_convolution import SpectralConv
from torch import Tensor, nn


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
        """Convolve fields, shape `(n, width, rows, columns)`."""
        rows, columns = z.shape[-2:]
        m = self.modes
        # Transforms know no half precision.
        wide = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        spectrum = torch.fft.rfft2(wide, norm="forward")
        low = torch.cat([spectrum[:, :, -m:, :m], spectrum[:, :, :m, :m]], dim=2)
        weight = self.weight.to_tensor().to(low.dtype)
        mixed = torch.einsum("nixy,ioxy->noxy", low, weight)
        gap = mixed.new_zeros(*mixed.shape[:2], rows - 2 * m, m)
        spectrum = torch.cat([mixed[:, :, m:], gap, mixed[:, :, :m]], dim=2)
        field: Tensor = torch.fft.irfft2(spectrum, s=(rows, columns), norm="forward")
        return field


class FourierLayer(nn.Module):
    """z -> act(N(MLP(N(spectral convolution of z))) + N(1x1 convolution of z) + injection).

    Args:
        width: Number of channels.
        modes: Wavenumbers of the spectral convolution.
        normalize: Whether N is instance normalisation, without weights; else it is nothing.
        activate: Whether act is GELU; else it is nothing.
    """

    def __init__(self, width: int, modes: int, *, normalize: bool, activate: bool = True) -> None:
        super().__init__()
        self.spectral = FlowSpectralConv(width, modes)
        self.mlp = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, width, 1))
        self.skip = nn.Conv2d(width, width, 1)
        self.norm = nn.InstanceNorm2d(width) if normalize else nn.Identity()
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
        self.lift = nn.Conv2d(4 if positions else 2, width, 1)
        self.last = FourierLayer(width, modes, normalize=True, activate=False)
        self.head = nn.Sequential(nn.Conv2d(width, 128, 1), nn.GELU(), nn.Conv2d(128, 1, 1))

    def encode(self, force: Tensor) -> Tensor:
        """Lift forces, shape `(n, 2, N, N)`, to padded fields `(n, width, N + padding, ...)`.

        Raises:
            ValueError: If there are fewer points a side than twice the modes.
        """
        n, _, side, _ = force.shape
        if side < 2 * self.modes:
            raise ValueError(
                f"Expected at least {2 * self.modes} points a side, as `modes` is {self.modes}, "
                f"got {side}. Take fewer modes, or data of a higher resolution."
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
