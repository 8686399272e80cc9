"""Explicit Fourier neural operators to compare with."""

from torch import Tensor, nn

from lit_implicit_flow.batch import FlowInput
from lit_implicit_flow.fourier import FourierFrame, FourierLayer


class FlowFNOPass(nn.Module):
    """The layers of `FlowFNO`, once and without injection: the paper's explicit FNO.

    The lifted force is the state that the layers begin with. Its layers have no normalization, as
    in the paper's code; the last one, before the projection, has.

    Args:
        width: Number of channels.
        modes: Wavenumbers of the spectral convolutions; data need twice as many points a side.
        n_layers: Fourier layers before the last.
        padding: Points of zeros on the right and below.
        positions: Give the network the place of each point.

    Raises:
        ValueError: If a number is out of range.

    References:
        arXiv:2510.03638, Figure 5.
    """

    def __init__(
        self,
        width: int = 32,
        modes: int = 12,
        n_layers: int = 3,
        padding: int = 9,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.frame = FourierFrame(width, modes, padding, positions)
        self.layers = _layers(type(self).__name__, width, modes, "n_layers", n_layers)

    def forward(self, x: FlowInput) -> Tensor:
        """Return the vorticities, shape `(n, 1, N, N)`."""
        z = self.frame.encode(x.force)
        for layer in self.layers:
            z = layer(z)
        return self.frame.decode(z)


class FlowFNOPlus(nn.Module):
    """FNO++: `depth` blocks of three layers with injection, each with weights of its own.

    The state starts at zero, as in `FlowFNO`, whose unrolled iteration it is, with untied weights
    and without normalization.

    Args:
        width: Number of channels.
        modes: Wavenumbers of the spectral convolutions; data need twice as many points a side.
        depth: Number of blocks; the number of weights grows with it.
        padding: Points of zeros on the right and below.
        positions: Give the network the place of each point.

    Raises:
        ValueError: If a number is out of range.

    References:
        arXiv:2510.03638, appendix H: depth 1 to 32 at width 32, width 32 to 256 at depth 1.
    """

    def __init__(
        self,
        width: int = 32,
        modes: int = 12,
        depth: int = 1,
        padding: int = 9,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.frame = FourierFrame(width, modes, padding, positions)
        self.layers = _layers(type(self).__name__, width, modes, "depth", depth, each=3)

    def forward(self, x: FlowInput) -> Tensor:
        """Return the vorticities, shape `(n, 1, N, N)`."""
        c = self.frame.encode(x.force)
        z = c.new_zeros(c.shape)
        for layer in self.layers:
            z = layer(z, c)
        return self.frame.decode(z)


def _layers(
    owner: str, width: int, modes: int, name: str, number: int, each: int = 1
) -> nn.ModuleList:
    if number < 1:
        raise ValueError(f"`{owner}.{name}` must be at least 1, got {number}.")
    layers = (FourierLayer(width, modes, normalize=False) for _ in range(each * number))
    return nn.ModuleList(layers)
