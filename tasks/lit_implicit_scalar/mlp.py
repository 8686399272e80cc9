"""A learned operator for functions of one number."""

import torch
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator


class ScalarMLP(AbstractOperator):
    """G(z, x) = W relu(V z + q(x)) + b, with a vector as state and a linear readout.

    q is a network of one hidden layer. G is piecewise linear: its slope in x grows at most linearly
    with |z|, and its state may become as large as F demands, where a bounded activation would not
    let it. Nothing makes G contract or keeps its slope small; whether it came out regular is to be
    measured.

    Args:
        dim: Numbers in a state, at least 1.
        width: Hidden units of G and of q, at least 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, dim: int = 32, width: int = 64) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("width", width)):
            if value < 1:
                raise ValueError(f"`ScalarMLP.{name}` must be at least 1, got {value}.")
        self.dim = dim
        self.embed = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width))
        self.from_state = nn.Linear(dim, width, bias=False)
        self.to_state = nn.Linear(width, dim)
        self.readout = nn.Linear(dim, 1)
        # Start as a contraction, so that the first solves converge.
        nn.init.uniform_(self.to_state.weight, -0.5 / width**0.5, 0.5 / width**0.5)

    def encode(self, x: Tensor) -> Tensor:
        """Embed the points, `(n,)`, as q(x), shape `(n, width)`."""
        c: Tensor = self.embed(x.to(self.readout.weight.dtype)[:, None])
        return c

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero: shape `(n, dim)`."""
        return c.new_zeros(len(c), self.dim)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once, shape `(n, dim)`."""
        gz: Tensor = self.to_state(torch.relu(self.from_state(z) + c))
        return gz

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Read the answer, shape `(n,)`."""
        y: Tensor = self.readout(z)
        return y.squeeze(-1)
