"""The functions F that operators are asked to reach, with all that is known about them.

Each has a step epsilon(x) that makes G(z, x) = z - epsilon(x) (z - F(x)) a regular operator:
epsilon vanishes where F is steep, so fast that epsilon and epsilon F are globally Lipschitz, with
constants b and a; so |dG/dx| <= a + b |z|. All are dimensionless functions of one number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lit_implicit_scalar.figure_one import figure_one, figure_one_slope, figure_one_step

TargetName: TypeAlias = Literal[
    "reciprocal", "reciprocal_positive", "log", "sqrt", "tan", "gamma", "figure_one"
]
Function: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ScalarTarget:
    """A function of one number, locally Lipschitz on its domain, but not globally.

    Args:
        formula: F in words, for titles.
        function: F, element by element.
        slope: Its derivative.
        intervals: The domain, as intervals whose ends belong to it unless they are singular.
        singular: Points outside of the domain (or of the set where F is differentiable) at which
            the slope of F has no bound.
        poles: Those of them at which F itself has none: a dashed line in pictures.
        shape: epsilon(x) / c, with values in (0, 1].
        a: Lipschitz constant of `shape` times F.
        b: Lipschitz constant of `shape`.
        c: Default factor of the step, in (0, 1].
        limits: Range of y in pictures; None leaves it to the points at hand.
    """

    formula: str
    function: Function
    slope: Function
    intervals: tuple[tuple[float, float], ...]
    singular: tuple[float, ...]
    poles: tuple[float, ...]
    shape: Function
    a: float
    b: float
    c: float = 0.5
    limits: tuple[float, float] | None = None

    def distance(self, x: Tensor) -> Tensor:
        """Return the distance of each point to the nearest singular one, shape `(n,)`."""
        return (x[..., None] - x.new_tensor(self.singular)).abs().amin(-1)

    def nearest_singular(self, x: Tensor) -> Tensor:
        """Return the nearest singular point of each point, shape `(n,)`."""
        singular = x.new_tensor(self.singular)
        return singular[(x[..., None] - singular).abs().argmin(-1)]


def gamma(x: Tensor) -> Tensor:
    """Return Gamma(x) for positive x."""
    return torch.lgamma(x).exp()


def _gamma_slope(x: Tensor) -> Tensor:
    return gamma(x) * torch.digamma(x)


def _square(x: Tensor) -> Tensor:
    return x.square()


def _itself(x: Tensor) -> Tensor:
    return x


def _reciprocal(formula: str, *intervals: tuple[float, float]) -> ScalarTarget:
    return ScalarTarget(
        formula=formula,
        function=torch.reciprocal,
        slope=lambda x: -1 / x.square(),
        intervals=intervals,
        singular=(0.0,),
        poles=(0.0,),
        shape=_square,
        a=1.0,  # x^2 / x = x
        b=2.0,  # 2 x, at x = 1
    )


# psi(5) = 1 + 1/2 + 1/3 + 1/4 - Euler's constant.
_GAMMA_SLOPE_AT_5 = 24 * (25 / 12 - 0.57721566490153286)
_FIGURE_ONE_A = math.sqrt(1 + 2 * math.sqrt(2))

TARGETS: dict[str, ScalarTarget] = {
    "reciprocal": _reciprocal("1/x on [-1, 1] without 0", (-1.0, 0.0), (0.0, 1.0)),
    "reciprocal_positive": _reciprocal("1/x on (0, 1]", (0.0, 1.0)),
    "log": ScalarTarget(
        formula="log x on (0, 1]",
        function=torch.log,
        slope=torch.reciprocal,
        intervals=((0.0, 1.0),),
        singular=(0.0,),
        poles=(0.0,),
        shape=_square,
        a=1.0,  # x (2 log x + 1), which is 1 at x = 1 and -0.45 at its minimum, x = exp(-3/2)
        b=2.0,
    ),
    "sqrt": ScalarTarget(
        formula="sqrt x on (0, 1]",
        function=torch.sqrt,
        slope=lambda x: 0.5 / x.sqrt(),
        intervals=((0.0, 1.0),),
        singular=(0.0,),
        poles=(),
        shape=_itself,
        a=1.5,  # 1.5 sqrt x
        b=1.0,
    ),
    "tan": ScalarTarget(
        formula="tan x on (-pi/2, pi/2)",
        function=torch.tan,
        slope=lambda x: 1 / x.cos().square(),
        intervals=((-math.pi / 2, math.pi / 2),),
        singular=(-math.pi / 2, math.pi / 2),
        poles=(-math.pi / 2, math.pi / 2),
        shape=lambda x: x.cos().square(),
        a=1.0,  # cos^2 tan = sin(2 x) / 2
        b=1.0,  # -sin(2 x)
    ),
    "gamma": ScalarTarget(
        formula="Gamma(x) on (0, 5]",
        function=gamma,
        slope=_gamma_slope,
        intervals=((0.0, 5.0),),
        singular=(0.0,),
        poles=(0.0,),
        shape=lambda x: x.square().clamp(max=1.0),
        a=_GAMMA_SLOPE_AT_5,  # 36.1: Gamma itself is steepest there, where the step is c
        b=2.0,
    ),
    "figure_one": ScalarTarget(
        formula="the paper's Figure 1 on [-2, 3] without 0 and 1",
        function=figure_one,
        slope=figure_one_slope,
        intervals=((-2.0, 0.0), (0.0, 1.0), (1.0, 3.0)),
        singular=(0.0, 1.0),
        poles=(0.0, 1.0),
        shape=figure_one_step,
        # Both at x > 1 where x^2 (x - 1)^2 reaches 1/2, so that x (x - 1) = sqrt(1/2) and
        # 2 x - 1 = sqrt(1 + 2 sqrt 2). Up to there epsilon F = x (x - 1).
        a=_FIGURE_ONE_A,
        b=math.sqrt(2) * _FIGURE_ONE_A,
        c=1.0,  # the paper's
        limits=(-10.0, 10.0),  # the paper's
    ),
}
"""The targets by name."""


def find_target(name: str, owner: str) -> ScalarTarget:
    """Return the target of a name.

    Args:
        name: A key of `TARGETS`.
        owner: The argument that gave it, for the message.

    Raises:
        ValueError: If there is no target of this name.
    """
    if name not in TARGETS:
        raise ValueError(f"`{owner}` must be one of {', '.join(TARGETS)}, got {name!r}.")
    return TARGETS[name]
