"""What is solved: a map, an input and a start, each with its fixed point known to float64.

Everything is drawn in float64 and rounded to float32; the fixed point is that of the rounded
numbers, in float64, by a closed form where there is one and else by iteration to rounding.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit import AbstractOperator, Dense, Equilibrium, FixedPointMap, Picard
from lit_implicit.tree import map_tensors

GOALS = (1e-3, 1e-5)
Exact = Callable[[AbstractOperator, Any], Tensor]


@dataclass(eq=False)
class Problem:
    """An operator with an input, in float32, on a device.

    Args:
        name: What it is called in tables.
        operator: The operator G, without a reason of its own to stop: no rival would hear of it.
        x: The input.
        exact: Its fixed point in closed form, in float64; None means by iteration.
        note: What a reader must know of it.
        goals: Errors to reach.
    """

    name: str
    operator: AbstractOperator
    x: Any
    exact: Exact | None = None
    note: str = ""
    goals: tuple[float, ...] = GOALS
    g: FixedPointMap = field(init=False)
    z0: Tensor = field(init=False)

    def __post_init__(self) -> None:
        with torch.no_grad():
            self.g, self.z0 = Equilibrium(self.operator).bind(self.x, seed=0)

    @classmethod
    def at(
        cls,
        device: torch.device,
        name: str,
        operator: AbstractOperator,
        x: Any,
        exact: Exact | None = None,
        note: str = "",
        goals: tuple[float, ...] = GOALS,
    ) -> "Problem":
        """Return a problem in float32 on a device, whatever it was drawn in."""
        x = map_tensors(lambda t: (t.float() if t.is_floating_point() else t).to(device), x)
        return cls(name, operator.float().to(device), x, exact, note, goals)

    @property
    def device(self) -> torch.device:
        """Where it is solved."""
        return self.z0.device

    @property
    def row(self) -> Tensor:
        """The start as rivals get it: ragged states, which none of them knows, as one sample."""
        return self.z0 if isinstance(self.g.layout, Dense) else self.z0.reshape(1, -1)

    def f(self, z: Tensor) -> Tensor:
        """Apply G to a state in the shape of `row`, as a rival does: nothing of ours around it."""
        gz: Tensor = self.operator(z.reshape(self.z0.shape), self.g.c)
        return gz.reshape(z.shape)

    def in_float64(self) -> tuple[AbstractOperator, Any]:
        """Return the operator and the input with the same numbers, in float64."""
        x = map_tensors(lambda t: t.double() if t.is_floating_point() else t, self.x)
        return copy.deepcopy(self.operator).double(), x

    @cached_property
    def z_star(self) -> Tensor:
        """The fixed point, in float64."""
        operator, x = self.in_float64()
        with torch.no_grad():
            if self.exact is not None:
                return self.exact(operator, x)
            return long_solve(*Equilibrium(operator).bind(x, seed=0))

    def errors(self, z: Tensor) -> Tensor:
        """Return |z - z*| / |z*| of each sample, infinite where z is not finite."""
        layout = self.g.layout
        apart = layout.norm(z.detach().reshape(self.z0.shape).double() - self.z_star)
        return (apart / layout.norm(self.z_star)).nan_to_num(torch.inf, torch.inf)

    def error(self, z: Tensor) -> float:
        """Return the largest of `errors`."""
        return self.errors(z).max().item()

    @torch.no_grad()
    def residual(self, z: Tensor) -> float:
        """Return the largest |G(z) - z| / |G(z)| of the samples."""
        z = z.detach().reshape(self.z0.shape)
        gz, norm = self.operator(z, self.g.c), self.g.layout.norm
        return (norm(gz - z) / norm(gz)).max().item()


def long_solve(g: FixedPointMap, z0: Tensor, rtol: float = 1e-12, max_iter: int = 20000) -> Tensor:
    """Return the fixed point of a map in float64, by plain iteration to rounding.

    Raises:
        RuntimeError: If a sample does not get there.
    """
    solution = Picard(rtol=rtol, max_iter=max_iter).solve(g, z0)
    if not solution.converged.all():
        worst = solution.relative_residual.max().item()
        raise RuntimeError(
            f"The fixed point of {type(g.operator).__name__} was not found in {max_iter} "
            f"iterations: relative residual {worst:.1e}, expected {rtol:.0e}."
        )
    return solution.z


class Affine(AbstractOperator):
    """G(z, x) = A z + x with A dense, or diagonal: as little work as a map can be."""

    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        if self.a.ndim == 1:
            return torch.addcmul(c, z, self.a)
        return torch.addmm(c, z, self.a.T)


def affine_solution(operator: AbstractOperator, x: Tensor) -> Tensor:
    """Return (I - A)^-1 x."""
    a = operator.a.detach()
    assert isinstance(a, Tensor)
    if a.ndim == 1:
        return x / (1 - a)
    return torch.linalg.solve(torch.eye(len(a), dtype=a.dtype, device=a.device) - a, x.T).T


class TanhMLP(AbstractOperator):
    """G(z, x) = W2 tanh(W1 z + x) + b, drawn with W2 = W1' and |W1| |W2| = factor."""

    def __init__(self, width: int, hidden: int, factor: float) -> None:
        super().__init__()
        w = draw(hidden, width, seed=1)
        w = w * (factor**0.5 / torch.linalg.matrix_norm(w, 2))
        self.first, self.second = nn.Parameter(w), nn.Parameter(w.T.clone())
        self.bias = nn.Parameter(0.1 * draw(width, seed=3))
        self.width = width

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return c.new_zeros(len(c), self.width)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.addmm(self.bias, torch.addmm(c, z, self.first.T).tanh(), self.second.T)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def affine_problem(
    name: str, factor: float, scale: float, dim: int, device: torch.device, n: int = 16
) -> Problem:
    """Return an affine problem, with eigenvalues evenly spread over [-0.3, factor].

    Up to 512 numbers A is dense, in a random basis; beyond it is diagonal, so that nearly all work
    is outside G.
    """
    values = torch.linspace(-0.3, factor, dim, dtype=torch.float64)
    if dim > 512:
        kind, a = "diagonal", values
    else:
        basis = torch.linalg.qr(draw(dim, dim)).Q
        kind, a = "dense", basis @ torch.diag(values) @ basis.T
    x = scale * draw(n, dim, seed=7)
    goals = GOALS if scale == 1 else GOALS[:1]
    return Problem.at(device, name, Affine(a), x, affine_solution, f"A is {kind}", goals)
