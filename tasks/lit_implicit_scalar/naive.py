"""The operator that converges fast and is of no use: it is as steep as its target."""

import torch
from torch import Tensor

from lit_implicit.operator import AbstractOperator
from lit_implicit_scalar.targets import TargetName, find_target


class ScalarNaive(AbstractOperator):
    """G(z, x) = (1 - eta) z + eta F(x).

    It contracts with the factor 1 - eta everywhere, so that y_t = (1 - (1 - eta)^t) F(x); but its
    slope in x is eta F'(x), without bound. It is not a regular operator: all the difficulty of F
    is in one application of G. It has no parameters.

    Args:
        target: The function F.
        eta: Step, in (0, 1].

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, motivating example.
    """

    def __init__(self, target: TargetName = "reciprocal_positive", eta: float = 0.5) -> None:
        super().__init__()
        self.function = find_target(target, "ScalarNaive.target").function
        self.target_names: tuple[str, ...] = (target,)
        if not 0 < eta <= 1:
            raise ValueError(f"`ScalarNaive.eta` must lie in (0, 1], got {eta}.")
        self.eta = eta

    def encode(self, x: Tensor) -> Tensor:
        """Return F(x), shape `(n,)`."""
        return self.function(x)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero."""
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once, shape `(n,)`."""
        return (1 - self.eta) * z + self.eta * c
