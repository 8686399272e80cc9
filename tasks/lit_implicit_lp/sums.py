"""Sums over the nodes of each program, and roots of such sums that have a derivative at zero."""

import torch
from torch import Tensor


def sums(owner: Tensor, n: int, *values: Tensor) -> tuple[Tensor, ...]:
    """Sum each of `values`, shape `(..., nodes)`, over the nodes of each owner: `(..., n)`.

    In one pass: on small programs the time goes by the number of calls.

    Args:
        owner: Number of the program (the row, the column) of each node, shape `(nodes,)`.
        n: How many there are.
        values: What is summed.
    """
    stacked = torch.stack(values)
    return stacked.new_zeros(*stacked.shape[:-1], n).index_add(-1, owner, stacked).unbind()


def norms(owner: Tensor, n: int, values: Tensor, empty: float = 0.0) -> Tensor:
    """Return the 2-norms of `values` over the nodes of each owner, shape `(n,)`.

    Args:
        owner: Number of the program (the row, the column) of each node, shape `(nodes,)`.
        n: How many there are.
        values: Shape `(nodes,)`.
        empty: What stands for a norm of 0, as that of an owner without nodes.
    """
    (squares,) = sums(owner, n, values.square())
    return root(squares, empty)


def root(values: Tensor, empty: float = 0.0) -> Tensor:
    """Return square roots, and `empty` for 0, where the root has no derivative."""
    zero = values == 0
    return torch.where(zero, empty, torch.where(zero, 1.0, values).sqrt())
