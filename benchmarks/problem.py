"""What the cases and the adapters share: problems with known answers, and a map that counts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


class NotOffered(Exception):
    """The library has no such feature; the message says which."""


@dataclass
class Map:
    """A map z -> G(z, x) over a batch, with its parameters, counted.

    Args:
        function: G, called with `(z, x)`, both of shape `(n, d)`.
        x: The input.
        parameters: Tensors that G captures and that ask for a gradient.
        module: A module in G, where a library looks for one.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    parameters: tuple[Tensor, ...] = ()
    module: torch.nn.Module | None = None
    n_calls: int = 0

    def __call__(self, z: Tensor, x: Tensor | None = None) -> Tensor:
        """Apply G; a narrowed batch brings its own x."""
        self.n_calls += 1
        return self.function(z, self.x if x is None else x)


@dataclass
class Answer:
    """What a library returned; None where it does not say.

    Args:
        z: The state.
        backward_converged: Called after `backward`: what the library says of its backward solve.
    """

    z: Tensor
    backward_converged: Callable[[], bool | None] = lambda: None


def matrix(n: int, radius: float, seed: int = 0) -> Tensor:
    """Return a random matrix of spectral norm `radius`."""
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a * (radius / torch.linalg.matrix_norm(a, 2))


def random(*shape: int, seed: int = 1) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def affine(a: Tensor, x: Tensor) -> Map:
    """Return the map A z + x."""
    return Map(lambda z, x: z @ a.T + x, x, (a,) if a.requires_grad else ())


def tanh(a: Tensor, x: Tensor) -> Map:
    """Return the map that applies the hyperbolic tangent to A z + x."""
    return Map(lambda z, x: (z @ a.T + x).tanh(), x, (a,))


def affine_solution(a: Tensor, x: Tensor) -> Tensor:
    """Return the fixed point of `affine`."""
    return torch.linalg.solve(torch.eye(len(a), dtype=a.dtype) - a, x[..., None])[..., 0]


def error(z: Tensor, expected: Tensor) -> float:
    """Return the relative error; not finite where z is not."""
    return ((z.detach().double() - expected).norm() / expected.norm()).item()
