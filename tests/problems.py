"""Problems with known fixed points, in float64, that the tests of solvers and adjoints share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit import AbstractOperator, Equilibrium, Ragged
from lit_implicit.objective import AbstractObjective


def matrix(n: int, radius: float, seed: int = 0) -> Tensor:
    """A random matrix, not symmetric, of spectral norm `radius`."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, dtype=torch.float64, generator=generator)
    return a * (radius / torch.linalg.matrix_norm(a, 2))


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Affine(AbstractOperator):
    """G(z, x) = A z + x, with z* = (I - A)^-1 x."""

    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)
        self.n_calls = 0

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        self.n_calls += 1
        return z @ self.a.T + c


class Tanh(Affine):
    """G(z, x) = tanh(A z + x)."""

    def forward(self, z, c):
        return super().forward(z, c).tanh()


@dataclass
class SparseSystems:
    """Systems of different sizes: entries of all matrices, in the numbering of the batch."""

    index: Tensor
    n: int
    rows: Tensor
    columns: Tensor
    values: Tensor
    b: Tensor


class RaggedAffine(AbstractOperator):
    """G(z, x) = gain A_i z + b_i for systems i of different sizes, with state `(nodes,)`."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))
        self.n_calls = 0

    def init_state(self, c, generator=None):
        return torch.zeros_like(c.b)

    def forward(self, z, c):
        self.n_calls += 1
        products = self.gain * c.values * z[c.columns]
        return torch.zeros_like(z).index_add(0, c.rows, products) + c.b

    def layout(self, z, c):
        return Ragged(c.index, c.n)

    def select(self, c, keep):
        nodes, edges = keep[c.index], keep[c.index[c.rows]]
        number, sample = nodes.cumsum(0) - 1, keep.cumsum(0) - 1
        return SparseSystems(
            sample[c.index[nodes]], int(keep.sum()), number[c.rows[edges]],
            number[c.columns[edges]], c.values[edges], c.b[nodes],
        )  # fmt: skip


def systems(*parts: tuple[Tensor, Tensor]) -> SparseSystems:
    """Put systems `(A, b)` in one ragged batch."""
    offset, rows, columns = 0, [], []
    for a, _ in parts:
        r, c = torch.ones_like(a).nonzero(as_tuple=True)
        rows.append(r + offset)
        columns.append(c + offset)
        offset += len(a)
    index = torch.cat([torch.full((len(a),), i) for i, (a, _) in enumerate(parts)])
    return SparseSystems(
        index, len(parts), torch.cat(rows), torch.cat(columns),
        torch.cat([a.flatten() for a, _ in parts]), torch.cat([b for _, b in parts]),
    )  # fmt: skip


class RaggedObjective(AbstractObjective):
    """Squared error of systems of different sizes; a batch is `(systems, target)`.

    The leaves are the right-hand sides b and, if asked for, the entries of the matrices.
    """

    def __init__(self, with_values: bool = False) -> None:
        super().__init__()
        self.with_values = with_values

    def inputs(self, batch):
        return batch[0]

    def n_samples(self, batch):
        return batch[0].n

    def target(self, batch):
        return batch[1]

    def loss(self, y, batch):
        return self.error(y, batch).square()

    def error(self, y, batch):
        return self.distance(y, batch[1], batch)

    def distance(self, y, y2, batch):
        return Ragged(batch[0].index, batch[0].n).norm(y - y2)

    def select(self, batch, keep):
        return RaggedAffine().select(batch[0], keep), batch[1][keep[batch[0].index]]

    def keys(self, batch):
        return torch.arange(batch[0].n)

    def leaves(self, x):
        return (x.b, x.values) if self.with_values else (x.b,)

    def with_leaves(self, x, leaves):
        values = leaves[1] if self.with_values else x.values
        return replace(x, b=leaves[0], values=values)

    def leaf_layouts(self, x):
        layouts = Ragged(x.index, x.n), Ragged(x.index[x.rows], x.n)
        return layouts if self.with_values else layouts[:1]


def affine_solution(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.solve(torch.eye(len(a), dtype=a.dtype) - a, b[..., None])[..., 0]


@dataclass
class Problem:
    """An operator, an input, the known answer, and the same for each sample alone."""

    name: str
    make: Callable[[], AbstractOperator]
    x: Any
    z_star: Tensor
    alone: list[tuple[Any, Tensor]]


def _affine() -> Problem:
    a = matrix(6, 0.8)
    # Samples of very different scales: what stops one must not stop another.
    x = random(4, 6) * torch.tensor([1e-3, 1.0, 1.0, 1e3], dtype=torch.float64)[:, None]
    z = affine_solution(a, x)
    return Problem(
        "affine", lambda: Affine(a.clone()), x, z, [(x[i : i + 1], z[i]) for i in range(4)]
    )


def _tanh() -> Problem:
    a, x = matrix(5, 0.9, seed=3), random(3, 5, seed=4)
    z = torch.zeros_like(x)
    for _ in range(2000):
        z = (z @ a.T + x).tanh()
    return Problem("tanh", lambda: Tanh(a.clone()), x, z, [(x[i : i + 1], z[i]) for i in range(3)])


def _ragged() -> Problem:
    sizes, radii = (3, 7, 2, 5), (0.5, 0.9, 0.1, 0.8)
    parts = [
        (matrix(n, r, seed=n), random(n, seed=10 + n)) for n, r in zip(sizes, radii, strict=True)
    ]
    z = [affine_solution(a, b) for a, b in parts]
    alone = [(systems(part), z_i) for part, z_i in zip(parts, z, strict=True)]
    return Problem("ragged", RaggedAffine, systems(*parts), torch.cat(z), alone)


PROBLEMS = [_affine(), _tanh(), _ragged()]
NAMES = [problem.name for problem in PROBLEMS]


def solve(operator: AbstractOperator, x: Any, solver: Any) -> Any:
    """Solve without gradients."""
    with torch.no_grad():
        return Equilibrium(operator, solver)(x)


class CountedProducts(torch.autograd.Function):
    """The identity, which counts how often a gradient passes it."""

    n_calls = 0

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, v):
        CountedProducts.n_calls += 1
        return v
