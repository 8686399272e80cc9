"""A network whose Lipschitz constant cannot pass a cap, by the exact norms of its matrices."""

import torch
from torch import Tensor, nn

from lit_implicit.layout import widest_dtype

# The largest norm of a matrix. A millionth below 1, so that rounding to float32 cannot pass 1.
_LARGEST = 1 - 1e-6


class CappedNetwork(nn.Module):
    """A network of two hidden layers that is Lipschitz with the constant `cap`, in 2-norms.

    N(v) = cap W_3 m(W_2 m(W_1 v + b_1) + b_2) + b_3, where m puts units in order two by two. m only
    permutes, so it keeps norms, and unlike relu it lets such networks come near any 1-Lipschitz
    function. No matrix has a norm above 1: `project` clips its singular values. Whoever calls
    the network projects first; where no weight changed since, that costs nothing.

    Args:
        n_inputs: Numbers in an input.
        n_outputs: Numbers in an output.
        cap: Largest Lipschitz constant.
        width: Units of each hidden layer, even.
        owner: The class that was given `cap` and `width`, for messages.

    Raises:
        ValueError: If the cap is not positive and finite, or the width is odd or below 2.

    References:
        Sedghi, Gupta and Long (2019), arXiv:1805.10408 (clipping singular values); Anil, Lucas and
        Grosse (2019), arXiv:1811.05381 (MaxMin, and why it is enough).
    """

    def __init__(self, n_inputs: int, n_outputs: int, cap: float, width: int, owner: str) -> None:
        super().__init__()
        if not 0 < cap < float("inf"):
            raise ValueError(f"`{owner}.cap` must be positive and finite, got {cap}.")
        if width < 2 or width % 2:
            raise ValueError(f"`{owner}.width` must be even and at least 2, got {width}.")
        self.cap = cap
        self.first = nn.Linear(n_inputs, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, n_outputs)
        for weight in self._weights:
            nn.init.orthogonal_(weight)  # keeps norms: no layer starts by wasting the cap
        self._projected: list[int] = []

    @property
    def _weights(self) -> list[Tensor]:
        return [self.first.weight, self.second.weight, self.last.weight]

    @torch.no_grad()
    def project(self) -> None:
        """Clip the singular values of all matrices at 1, in place, if a weight changed."""
        weights = self._weights
        # Tensors of inference mode do not count their changes.
        counted = not any(weight.is_inference() for weight in weights)
        if counted and [weight._version for weight in weights] == self._projected:
            return
        for weight in weights:
            clipped = clip_singular_values(weight)
            if clipped is not None:
                weight.copy_(clipped)
        self._projected = [weight._version for weight in weights] if counted else []

    @torch.no_grad()
    def bound(self) -> float:
        """Return the cap times the norms of the matrices: no slope of the network is larger."""
        self.project()
        norms = [torch.linalg.matrix_norm(weight.double(), ord=2) for weight in self._weights]
        return self.cap * float(torch.stack(norms).prod())

    def forward(self, v: Tensor) -> Tensor:
        """Answer to inputs `(n, n_inputs)`, shape `(n, n_outputs)`."""
        return self.after_first(self.first(v))

    def after_first(self, h: Tensor) -> Tensor:
        """Answer, given W_1 v + b_1, shape `(n, width)`."""
        h = max_min(self.second(max_min(h)))
        answer: Tensor = self.cap * nn.functional.linear(h, self.last.weight) + self.last.bias
        return answer


def max_min(h: Tensor) -> Tensor:
    """Put units i and i + width/2 in order, the larger first: shape `(n, width)` as `h`."""
    a, b = h.chunk(2, dim=-1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=-1)


def clip_singular_values(weight: Tensor) -> Tensor | None:
    """Return the nearest matrix, in the Frobenius norm, whose 2-norm is at most 1.

    None if it is the matrix itself, or if that is not finite. By eigenvectors of the smaller
    Gram matrix, in float64 where the device has it, as the cap is held to the last digit of
    float32; singular values below 1 are left as they are.

    Args:
        weight: Shape `(m, n)`.
    """
    flip = weight.shape[0] < weight.shape[1]
    tall = (weight.T if flip else weight).to(widest_dtype(weight.device))
    if not tall.isfinite().all():
        return None  # training broke; whoever looks at its loss says so better
    squares, vectors = torch.linalg.eigh(tall.T @ tall)
    if squares[-1] <= 1:
        return None
    above = squares > _LARGEST**2
    v = vectors[:, above]
    clipped: Tensor = tall - (tall @ v) * (1 - _LARGEST / squares[above].sqrt()) @ v.T
    return (clipped.T if flip else clipped).to(weight.dtype)
