"""The paper's motivating example: 1/x by an operator that never divides."""

import torch
from torch import Tensor

from lit_implicit.operator import AbstractOperator


class ScalarReciprocal(AbstractOperator):
    """G(z, x) = z - eta (x z - 1) on (0, 1], or z - eta x (x z - 1) on both sides of 0.

    From z_0 = 0, y_t = (1 - (1 - epsilon)^t) / x with epsilon = eta x (two-sided: eta x^2). On
    (0, 1], the iterates have the Lipschitz constant L_t = eta^2 t (t - 1) / 2, reached as x -> 0.
    |dG/dx| is at most a + b |z| with (a, b) = (0, eta), or (eta, 2 eta) for the two-sided form. It
    has no parameters.

    Args:
        eta: Step, in (0, 1].
        two_sided: Use the form that also converges where x is negative.

    Raises:
        ValueError: If `eta` is out of range.

    References:
        arXiv:2510.03638, motivating example.
    """

    def __init__(self, eta: float = 0.5, two_sided: bool = False) -> None:
        super().__init__()
        if not 0 < eta <= 1:
            raise ValueError(f"`ScalarReciprocal.eta` must lie in (0, 1], got {eta}.")
        self.eta, self.two_sided = eta, two_sided

    @property
    def target_names(self) -> tuple[str, ...]:
        """The targets that it reaches."""
        return ("reciprocal_positive", "reciprocal") if self.two_sided else ("reciprocal_positive",)

    @property
    def bounds(self) -> tuple[float, float]:
        """Constants (a, b) with |dG/dx| <= a + b |z|."""
        return (self.eta, 2 * self.eta) if self.two_sided else (0.0, self.eta)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero."""
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once, shape `(n,)`."""
        step = self.eta * c if self.two_sided else self.eta
        return z - step * (c * z - 1)
