"""The layers of the paper's graph networks: embeddings and half-convolutions."""

import torch
from torch import Tensor, nn

from lit_implicit_lp.sparse import SparseMatrix


def check_arguments(name: str, width: int, cost_scale: float, bound_scale: float) -> None:
    """Refuse arguments out of range, in one line that names the class."""
    if width < 1:
        raise ValueError(f"`{name}.width` must be at least 1, got {width}.")
    for scale, value in (("cost_scale", cost_scale), ("bound_scale", bound_scale)):
        if not 0 < value < float("inf"):
            raise ValueError(f"`{name}.{scale}` must be positive and finite, got {value}.")


def mlp(
    n_in: int,
    n_hidden: int,
    n_out: int,
    *,
    bias_in: bool = True,
    bias_out: bool = True,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Build Linear-ReLU-Linear, or with another activation."""
    return nn.Sequential(
        nn.Linear(n_in, n_hidden, bias=bias_in),
        activation(),
        nn.Linear(n_hidden, n_out, bias=bias_out),
    )


def embedding(n_in: int, width: int) -> nn.Sequential:
    """Build Linear-ReLU, the embedding of a node's features."""
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU())


def init_weights(module: nn.Module) -> None:
    """Make all weights orthogonal and all biases zero, in place, as the paper does."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.orthogonal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class HalfConvolution(nn.Module):
    """Messages from one side of the bipartite graph to the other.

    A node i of the receiving side becomes
    `relu(Out([sum_j A_ij Source(source_j), Receiver(receiver_i)]))`, where all three are
    Linear-ReLU-Linear; the map of variables has no bias in its first layer.

    Args:
        n_variable: Features of a variable.
        n_constraint: Features of a constraint.
        to_constraints: Whether messages go from variables to constraints, or back.

    References:
        arXiv:2510.03638, linear programming; the layer is that of arXiv:2209.12288.
    """

    def __init__(self, n_variable: int, n_constraint: int, *, to_constraints: bool) -> None:
        super().__init__()
        variable = mlp(n_variable, n_variable, n_variable, bias_in=False)
        constraint = mlp(n_constraint, n_constraint, n_constraint)
        self.source = variable if to_constraints else constraint
        self.receiver = constraint if to_constraints else variable
        n_out = n_constraint if to_constraints else n_variable
        self.out = mlp(n_variable + n_constraint, n_out, n_out)

    def forward(self, matrix: SparseMatrix, source: Tensor, receiver: Tensor) -> Tensor:
        """Return the receiving side's new features.

        Args:
            matrix: One row per receiving node, one column per sending node.
            source: Features of the sending side, shape `(n_source, features)`.
            receiver: Features of the receiving side, shape `(n_receiver, features)`.
        """
        messages = matrix @ self.source(source)
        return torch.relu(self.out(torch.cat([messages, self.receiver(receiver)], dim=-1)))
