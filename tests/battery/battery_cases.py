"""One batch of affine systems z = gain A_i z + b_i, as a dense state and as a ragged one."""

import pytest
import torch
from problems import RaggedAffine, matrix, random, systems
from torch import nn

from lit_implicit import AbstractOperator, Anderson, Broyden, Picard

GAIN = 0.9
EXACT = {"rtol": 1e-14, "max_iter": 800}
SOLVERS = {
    "picard": Picard(**EXACT),
    "damped": Picard(0.7, **EXACT),
    "anderson": Anderson(**EXACT),
    "broyden": Broyden(**EXACT),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
each_kind = pytest.mark.parametrize("kind", ["dense", "ragged"])


class DenseAffine(AbstractOperator):
    """G(z, x) = gain A_i z + b_i, with state `(n, d)` and a matrix for each sample."""

    def __init__(self, gain=GAIN):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))
        self.n_calls = 0

    def init_state(self, c, generator=None):
        return torch.zeros_like(c["b"])

    def forward(self, z, c):
        self.n_calls += 1
        return self.gain * torch.einsum("nij,nj->ni", c["a"], z) + c["b"]


def parts_of(kind):
    """Systems `(A, b)` of spectral norms 0.1 to 0.95, so that their counts differ."""
    sizes = (5, 5, 5, 5) if kind == "dense" else (3, 7, 2, 5)
    radii = (0.95, 0.1, 0.8, 0.5)
    return [
        (matrix(n, radius, seed=i), random(n, seed=20 + i))
        for i, (n, radius) in enumerate(zip(sizes, radii, strict=True))
    ]


def batch(kind, parts, dtype=torch.float64):
    """An operator and its input; `b` of the input asks for a gradient."""
    if kind == "dense":
        operator = DenseAffine()
        x = {"a": torch.stack([a for a, _ in parts]), "b": torch.stack([b for _, b in parts])}
        x = {key: value.to(dtype) for key, value in x.items()}
        return operator.to(dtype), x, x["b"].requires_grad_()
    x = systems(*parts)
    x.values, x.b = x.values.to(dtype), x.b.to(dtype)
    return RaggedAffine(GAIN).to(dtype), x, x.b.requires_grad_()


def rows(kind, state, parts):
    """The state of each sample."""
    return list(state) if kind == "dense" else list(state.split([len(b) for _, b in parts]))


def exact(parts, v):
    """The fixed points, and by dense solves the gradients of sum v z in each b and in the gain."""
    z, of_b, of_gain = [], [], 0.0
    for (a, b), w in zip(parts, v, strict=True):
        system = torch.eye(len(b)).double() - GAIN * a
        z.append(torch.linalg.solve(system, b))
        of_b.append(torch.linalg.solve(system.T, w.double()))
        of_gain = of_gain + of_b[-1] @ a @ z[-1]
    return z, of_b, of_gain
