"""The implicit Fourier neural operator of the paper."""

import torch
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator
from lit_implicit_flow.batch import FlowInput
from lit_implicit_flow.fourier import FourierFrame, FourierLayer, instance_norm


class FlowFNO(AbstractOperator):
    """G(z, x): normalize z, then three Fourier layers, each with the lifted force added.

    The state is a field of `width` channels on the padded grid and starts at zero; instance
    normalization, which sees one sample at a time, stands in all layers. At width 32 with 12 modes
    and positions: 2,376,481 parameters, a complex number counted as two.

    Args:
        width: Number of channels.
        modes: Wavenumbers of the spectral convolutions; data need twice as many points a side.
        n_layers: Fourier layers in G.
        padding: Points of zeros on the right and below; 9 is the paper's, though flows are
            periodic.
        positions: Give the network the place of each point, as the paper does. Without it, and
            without padding, a force that is shifted gives an answer that is shifted.

    Raises:
        ValueError: If a number is out of range.

    References:
        arXiv:2510.03638, steady Navier-Stokes; FNO-DEQ: arXiv:2312.00234.
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
        if n_layers < 1:
            raise ValueError(f"`FlowFNO.n_layers` must be at least 1, got {n_layers}.")
        self.frame = FourierFrame(width, modes, padding, positions)
        self.norm = instance_norm(width)
        self.layers = nn.ModuleList(
            FourierLayer(width, modes, normalize=True) for _ in range(n_layers)
        )

    def encode(self, x: FlowInput) -> Tensor:
        """Lift the forces, shape `(n, width, N + padding, N + padding)`."""
        return self.frame.encode(x.force)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return zeros; nothing is drawn."""
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G."""
        z = self.norm(z)
        for layer in self.layers:
            z = layer(z, c)
        return z

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Project a state to the answer, shape `(n, 1, N, N)`."""
        return self.frame.decode(z)
