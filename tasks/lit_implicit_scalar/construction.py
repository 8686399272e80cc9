"""The construction behind the sufficiency theorem: any locally Lipschitz F as a fixed point."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lit_implicit.operator import AbstractOperator
from lit_implicit_scalar.general_step import general_step
from lit_implicit_scalar.targets import TARGETS, ScalarTarget, TargetName, find_target


class StepAndPull(NamedTuple):
    """What G needs of x, each of shape `(n,)`.

    Args:
        step: epsilon(x).
        pull: epsilon(x) F(x).
    """

    step: Tensor
    pull: Tensor


class ScalarConstruction(AbstractOperator):
    """G(z, x) = z - epsilon(x) (z - F(x)), with a step that vanishes where F is steep.

    It is regular: a contraction in z with the factor 1 - epsilon(x), and |dG/dx| <= a + b |z| with
    the constants `bounds`, as epsilon and epsilon F are globally Lipschitz although F is not. From
    z_0 = 0, y_t = (1 - (1 - epsilon)^t) F. It has no parameters.

    Args:
        target: The function F.
        step: `target`: the closed form that belongs to the target. `general`: c phi(x)^2, which
            suits any locally Lipschitz F, found numerically and smaller by far (see
            `general_step`).
        c: Factor of the step, in (0, 1]; None means the target's own (0.5, and 1 for figure_one).

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, sufficiency theorem.
    """

    def __init__(
        self,
        target: TargetName = "reciprocal_positive",
        step: Literal["target", "general"] = "target",
        c: float | None = None,
    ) -> None:
        super().__init__()
        find_target(target, "ScalarConstruction.target")
        self.target_names: tuple[str, ...] = (target,)
        if step not in ("target", "general"):
            raise ValueError(
                f"`ScalarConstruction.step` must be 'target' or 'general', got {step!r}."
            )
        self.general = step == "general"
        self.c = self.target.c if c is None else c
        if not 0 < self.c <= 1:
            raise ValueError(f"`ScalarConstruction.c` must lie in (0, 1], got {c}.")

    @property
    def target(self) -> ScalarTarget:
        """The function F, looked up by name: its closures could not be pickled with the model."""
        return TARGETS[self.target_names[0]]

    @property
    def bounds(self) -> tuple[float, float]:
        """Constants (a, b) with |dG/dx| <= a + b |z|."""
        a, b = (4.0, 2.0) if self.general else (self.target.a, self.target.b)
        return self.c * a, self.c * b

    def step(self, x: Tensor) -> Tensor:
        """Return epsilon at points of the domain, shape `(n,)`."""
        shape = general_step(self.target, x) if self.general else self.target.shape(x)
        return self.c * shape

    def encode(self, x: Tensor) -> StepAndPull:
        """Compute the step, and the step times F, once per solve."""
        step = self.step(x)
        return StepAndPull(step, step * self.target.function(x))

    def init_state(self, c: StepAndPull, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero."""
        return torch.zeros_like(c.step)

    def forward(self, z: Tensor, c: StepAndPull) -> Tensor:
        """Apply G once, shape `(n,)`."""
        return z - c.step * z + c.pull
