"""The state of the primal-dual iteration: a pair, its last step, and what fades with time."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

_LEAST_FADE = 1e-30
"""Its logarithm stands for the number of iterations, up to some thousands; single precision has no
smaller numbers to speak of."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """A primal-dual pair, in units, and the step that led to it before over-relaxation.

    Args:
        y, y_step: Shape `(n_variables,)`.
        dual, dual_step: Shape `(n_constraints,)`.
    """

    y: Tensor
    dual: Tensor
    y_step: Tensor
    dual_step: Tensor

    @classmethod
    def of(cls, z: Tensor, n: int) -> "Iterate":
        """Read it from a state whose first `n` rows are variables."""
        return cls(y=z[:n, 0], dual=z[n:, 0], y_step=z[:n, 1], dual_step=z[n:, 1])

    def columns(self) -> Tensor:
        """Return the first two columns of a state: values and steps, shape `(nodes, 2)`."""
        values, steps = torch.cat([self.y, self.dual]), torch.cat([self.y_step, self.dual_step])
        return torch.stack([values, steps], dim=-1)

    def before(self, relaxation: Tensor | float) -> Tensor:
        """Return the pair as it was before its last over-relaxation, shape `(nodes,)`."""
        beyond = relaxation - 1
        return torch.cat([self.y - beyond * self.y_step, self.dual - beyond * self.dual_step])

    def detach(self) -> "Iterate":
        """Return the same without gradients."""
        return Iterate(*(getattr(self, f.name).detach() for f in fields(self)))


def trust_at(fade: Tensor) -> Tensor:
    """Return how much of what is learned of the iterate counts: all at first, at last nothing."""
    trust: Tensor = 1 - (1 - fade) ** 3
    return trust


def averaged(mean: Tensor, values: Tensor, fade: Tensor, decay: float) -> Tensor:
    """Add an iterate to a running mean, in which the k-th has a weight in proportion to k^3.

    Args:
        mean: The mean so far, shape `(nodes,)`.
        values: The next iterate.
        fade: `decay` to the power of the iterations so far, which is how they are known.
        decay: In (0, 1).
    """
    n_iter = fade.clamp(min=_LEAST_FADE).log() / math.log(decay)
    return mean + (4 / (n_iter + 4)) * (values - mean)
