"""The maps of docs/choosing_a_solver.md: affine, bounded and trained, made to differ."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from lit_implicit import AbstractOperator, Anderson, Equilibrium, JacobianFree
from lit_implicit_scalar.mlp import ScalarMLP
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.targets import TARGETS

DIM, N_SAMPLES = 128, 16


class Map(AbstractOperator):
    """G(z, x) = A z + x, or tanh(A z + x)."""

    def __init__(self, a: Tensor, *, bounded: bool = False) -> None:
        super().__init__()
        self.a, self.bounded, self.n_tracked = nn.Parameter(a), bounded, 0

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero."""
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once; where a gradient is recorded, count that and the products to come."""
        gz = z @ self.a.T + c
        gz = gz.tanh() if self.bounded else gz
        if not torch.is_grad_enabled():
            return gz
        self.n_tracked += 1
        counted: Tensor = CountedProducts.apply(gz)
        return counted


class CountedProducts(torch.autograd.Function):
    """The identity, which counts how often a gradient passes it."""

    n_calls = 0

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        """Return a copy."""
        return z.clone()

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:  # type: ignore[override]
        """Return the gradient as it is."""
        CountedProducts.n_calls += 1
        return v


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(low: float, high: float, n: int = DIM) -> Tensor:
    """Return a symmetric matrix with eigenvalues evenly spread over [low, high]."""
    basis = torch.linalg.qr(draw(n, n)).Q
    return basis @ torch.diag(torch.linspace(low, high, n, dtype=torch.float64)) @ basis.T


def outlier(value: float) -> Tensor:
    """Return `symmetric(-0.3, 0.9)` with its largest eigenvalue moved."""
    a = symmetric(-0.3, 0.9)
    v = torch.linalg.eigh(a).eigenvectors[:, -1]
    return a + (value - 0.9) * torch.outer(v, v)


def bounded(a: Tensor) -> Map:
    """Return the map tanh(A z + x)."""
    return Map(a, bounded=True)


def rotating(radius: float = 0.95, n: int = DIM) -> Tensor:
    """Return a normal matrix with eigenvalues r exp(+-i theta) that fill a disc."""
    r = torch.linspace(1, n // 2, n // 2, dtype=torch.float64).div(n // 2).sqrt() * radius
    theta = 2.399963 * torch.arange(n // 2, dtype=torch.float64)  # the golden angle
    c, s = r * theta.cos(), r * theta.sin()
    blocks = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    basis = torch.linalg.qr(draw(n, n)).Q
    return basis @ torch.block_diag(*blocks) @ basis.T


@cache
def trained() -> ScalarMLP:
    """Train the network of the task `scalar` on 1/x, as its config does but in a plain loop."""
    torch.manual_seed(0)
    operator, objective, n_steps = ScalarMLP(), ScalarObjective(), 480
    layer = Equilibrium(operator, Anderson(5, rtol=1e-3, max_iter=30), JacobianFree(3))
    optimizer = torch.optim.Adam(operator.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    points = draw_points(TARGETS["reciprocal_positive"], "train", 4096, closest=1e-2).float()
    for _ in range(n_steps):
        batch = make_batch(points[torch.randint(4096, (256,))], "reciprocal_positive")
        y, solution = layer(batch.x)
        loss = objective.loss(y, batch)[~solution.failed].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(operator.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return operator.requires_grad_(False)


@dataclass(frozen=True)
class Problem:
    """A map and inputs to solve it for."""

    name: str
    make: Callable[[], AbstractOperator]
    x: Tensor


X = draw(N_SAMPLES, DIM, seed=7)
PROBLEMS = {
    "a": Problem("affine, eigenvalues in [-0.3, 0.9]", lambda: Map(symmetric(-0.3, 0.9)), X),
    "b": Problem("affine, eigenvalues in [-0.3, 0.99]", lambda: Map(symmetric(-0.3, 0.99)), X),
    "c": Problem("affine, complex eigenvalues, modulus up to 0.95", lambda: Map(rotating()), X),
    "d": Problem("affine, eigenvalues in [-2, 0.9]", lambda: Map(symmetric(-2, 0.9)), X),
    "e": Problem("affine, as a, but one eigenvalue is 1.5", lambda: Map(outlier(1.5)), X),
    "f": Problem("affine, eigenvalues in [-0.3, 1.5]", lambda: Map(symmetric(-0.3, 1.5)), X),
    "g": Problem("tanh(A z + x), A of map b", lambda: bounded(symmetric(-0.3, 0.99)), 0.1 * X),
    "h": Problem("tanh(A z + x), eigenvalues of A in [-3, 0.9]",
                 lambda: bounded(symmetric(-3, 0.9)), 0.1 * X),
    "i": Problem("trained `ScalarMLP`, 1/x at 0.01 to 0.1", trained,
                 torch.linspace(0.01, 0.1, N_SAMPLES, dtype=torch.float64)),
}  # fmt: skip


def contraction_and_slope(mu: float) -> tuple[Map, Tensor]:
    """Return a tanh map whose Jacobian at its fixed points has the largest singular value mu."""
    z_star = 0.3 * draw(8, 32, seed=3)
    a = symmetric(-0.3, 1.0, 32)
    slopes = 1 - z_star.tanh().square()
    a = a * (mu / max(torch.linalg.matrix_norm(s[:, None] * a, 2).item() for s in slopes))
    return bounded(a), z_star - z_star.tanh() @ a.T
