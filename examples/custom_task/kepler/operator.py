"""A learned operator that is simple, and becomes steep by iteration."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lit_implicit import AbstractOperator


class KeplerOperator(AbstractOperator):
    """G(z, x) = relu(a W z + V x + b), read by a row r, where |W| = |V| = |r| = 1.

    It contracts by the factor a. After t iterations the answer has a slope in x of at most
    1 + a + ... + a^(t-1): 1 in one pass, 1 / (1 - a) at the fixed point.

    Args:
        width: Numbers in a state.
        contraction_factor: The factor a, above 0 and below 1.

    Raises:
        ValueError: If `contraction_factor` is out of range.
    """

    def __init__(self, width: int = 64, contraction_factor: float = 0.95) -> None:
        super().__init__()
        if not 0 < contraction_factor < 1:
            raise ValueError(
                "`KeplerOperator.contraction_factor` must be above 0 and below 1, "
                f"got {contraction_factor}."
            )
        self.contraction_factor = contraction_factor
        self.embed = spectral_norm(nn.Linear(2, width))
        self.recur = spectral_norm(nn.Linear(width, width, bias=False))
        self.readout = spectral_norm(nn.Linear(width, 1))

    def encode(self, x: Tensor) -> Tensor:
        c: Tensor = self.embed(
            x.to(next(self.parameters()).dtype)
        )  # curves are measured in float64
        return c

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.relu(self.contraction_factor * self.recur(z) + c)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        y: Tensor = self.readout(z)
        return y
