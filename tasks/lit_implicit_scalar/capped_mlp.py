"""A learned operator each pass of which is under a Lipschitz cap, that of its iterates is not."""

import torch
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator
from lit_implicit_scalar.capped import CappedNetwork


class ScalarCappedMLP(AbstractOperator):
    """G(z, x) = N(x, z), where N is Lipschitz with the constant `cap` in (x, z) jointly.

    The state is the answer itself, y_t = z_t, and z_0 = 0. So one pass, y_1 = G(0, x), is capped as
    `ScalarCappedNetwork` is; but |dy_{t+1}/dx| <= cap sqrt(1 + |dy_t/dx|^2) lets the slope grow
    with t, and where the iteration converges, the slope of z* is |dG/dx| / |1 - dG/dz|, which no
    cap on a pass bounds, as dG/dz may come near 1. A cap of at least 1 leaves room for that.

    Args:
        cap: Largest Lipschitz constant of a pass.
        width: Units of each of the two hidden layers, even.

    Raises:
        ValueError: If the cap is not positive and finite, or the width is odd or below 2.

    References:
        arXiv:2510.03638: steep maps from simple operators; no uniform bound on the fixed-point map.
    """

    def __init__(self, cap: float = 10.0, width: int = 64) -> None:
        super().__init__()
        self.one_pass = CappedNetwork(2, 1, cap, width, type(self).__name__)
        with torch.no_grad():
            # Start as a contraction in z, of factor 1/2 or less: else 25 passes start at cap^25.
            self.one_pass.first.weight[:, 1] *= min(1.0, 0.5 / cap)

    def encode(self, x: Tensor) -> Tensor:
        """Apply what the first layer does to x, once per solve, shape `(n, width)`."""
        self.one_pass.project()
        weight, bias = self.one_pass.first.weight, self.one_pass.first.bias
        return nn.functional.linear(x.to(weight.dtype)[:, None], weight[:, :1], bias)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero: shape `(n, 1)`."""
        return c.new_zeros(len(c), 1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once, shape `(n, 1)`."""
        return self.one_pass.after_first(c + z * self.one_pass.first.weight[:, 1])

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Return the state as the answer, shape `(n,)`."""
        return z.squeeze(-1)
