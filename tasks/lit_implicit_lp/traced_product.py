"""The sparse product as one operation of `torch.compile`, which cannot look inside sparse rows."""

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("lit_implicit_lp::sparse_product", mutates_args=())
def traced_product(
    x: Tensor,
    values: Tensor,
    values_t: Tensor,
    starts: Tensor,
    rows: Tensor,
    columns: Tensor,
    starts_t: Tensor,
    rows_t: Tensor,
    columns_t: Tensor,
) -> Tensor:
    """Multiply a matrix in compressed rows with a dense `x`, by the same kernel as always.

    Differentiable once, by reverse mode, in `x` and in the values. Dynamo traces no
    `autograd.Function` with a forward derivative, and the compiler no sparse layout; to both this
    is a black box. Outside compiled code it would cost more than the `autograd.Function`.

    Args:
        x: Dense, `(n_columns, features)`.
        values: The nonzeros.
        values_t: Those of the transpose.
        starts: Place of each row's first nonzero, and their number.
        rows: Row of each nonzero.
        columns: Column of each nonzero.
        starts_t: As `starts`, of the transpose.
        rows_t: As `rows`, of the transpose.
        columns_t: As `columns`, of the transpose.
    """
    matrix = torch.sparse_csr_tensor(
        starts, columns, values.to(x.dtype), (len(starts) - 1, len(x)), check_invariants=False
    )
    return torch.mm(matrix, x)


@traced_product.register_fake
def _shape(x: Tensor, values: Tensor, values_t: Tensor, starts: Tensor, *_: Tensor) -> Tensor:
    return x.new_empty(starts.shape[0] - 1, x.shape[1])


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, values, values_t, starts, rows, columns, starts_t, rows_t, columns_t = ctx.saved_tensors
    grad_x = grad_values = None
    if ctx.needs_input_grad[0]:
        transpose = (values_t, values, starts_t, rows_t, columns_t, starts, rows, columns)
        grad_x = traced_product(grad.contiguous(), *transpose)
    if ctx.needs_input_grad[1]:
        grad_values = (grad[rows] * x[columns]).sum(-1).to(values.dtype)
    return grad_x, grad_values, *(None,) * 7


traced_product.register_autograd(_backward, setup_context=_setup)
