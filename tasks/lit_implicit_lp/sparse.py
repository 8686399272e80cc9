"""Products with a sparse matrix and its transpose, fast in both directions of differentiation."""

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit_lp.traced_product import traced_product


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A sparse matrix in compressed rows that knows its transpose.

    `matrix @ x` is differentiable in `x` and in the values, twice and in forward mode. It takes a
    third to a seventh of the time of a gather, a product and an `index_add`, which need one row per
    nonzero in memory, and does not depend on the order of sums on a GPU.

    Args:
        starts: Place of each row's first nonzero and, last, their number: `(n_rows + 1,)`.
        rows: Row of each nonzero, ascending.
        columns: Column of each nonzero.
        values: The nonzeros.
        transpose: The starts, rows, columns and values of the transpose.
        n_columns: Number of columns.
    """

    starts: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    transpose: tuple[Tensor, Tensor, Tensor, Tensor]
    n_columns: int

    @classmethod
    def from_coordinates(
        cls, rows: Tensor, columns: Tensor, values: Tensor, n_rows: int, n_columns: int
    ) -> "SparseMatrix":
        """Build from nonzeros in any order; those in the same place add up."""
        order = rows.argsort(stable=True)
        rows, columns, values = rows[order], columns[order], values[order]
        order = columns.argsort(stable=True)
        transpose = (columns[order], rows[order], values[order])
        return cls._of(rows, columns, values, transpose, n_rows, n_columns)

    @classmethod
    def _of(
        cls,
        rows: Tensor,
        columns: Tensor,
        values: Tensor,
        transpose: tuple[Tensor, Tensor, Tensor],
        n_rows: int,
        n_columns: int,
    ) -> "SparseMatrix":
        starts, starts_t = _starts(rows, n_rows), _starts(transpose[0], n_columns)
        return cls(starts, rows, columns, values, (starts_t, *transpose), n_columns)

    @property
    def mT(self) -> "SparseMatrix":
        """The transpose: a view, free of charge."""
        back = (self.starts, self.rows, self.columns, self.values)
        return SparseMatrix(*self.transpose, back, len(self.starts) - 1)

    def abs(self) -> "SparseMatrix":
        """Return the matrix of absolute values."""
        starts, rows, columns, values = self.transpose
        return SparseMatrix(
            self.starts,
            self.rows,
            self.columns,
            self.values.abs(),
            (starts, rows, columns, values.abs()),
            self.n_columns,
        )

    def __matmul__(self, x: Tensor) -> Tensor:
        """Multiply with a dense `x` of shape `(n_columns, features)`: `(n_rows, features)`."""
        starts_t, rows_t, columns_t, values_t = self.transpose
        places = (self.starts, self.rows, self.columns, starts_t, rows_t, columns_t)
        product: Tensor
        if torch.compiler.is_compiling():
            with torch.autocast(x.device.type, enabled=False):
                wide = x if x.dtype in _KNOWN else x.float()
                product = traced_product(wide, self.values, values_t, *places).to(x.dtype)
        else:
            product = _Product.apply(x, self.values, values_t, *places)
        return product

    def keep(self, rows: Tensor, columns: Tensor) -> "SparseMatrix":
        """Keep some rows and columns (masks) and number them anew.

        Every nonzero must lie in both or in none of them, as in a matrix of diagonal blocks.
        """
        row_number, column_number = rows.cumsum(0) - 1, columns.cumsum(0) - 1
        kept = rows[self.rows]
        _, rows_t, columns_t, values_t = self.transpose
        kept_t = columns[rows_t]
        return self._of(
            row_number[self.rows[kept]],
            column_number[self.columns[kept]],
            self.values[kept],
            (column_number[rows_t[kept_t]], row_number[columns_t[kept_t]], values_t[kept_t]),
            int(rows.sum()),
            int(columns.sum()),
        )


_KNOWN = (torch.float32, torch.float64)


def _announce_quietly() -> None:
    """Make torch say now, unheard, what it says once: that sparse rows are a beta feature."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor(
            torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), [], (1, 1)
        )


_announce_quietly()


def _starts(rows: Tensor, n_rows: int) -> Tensor:
    return torch.searchsorted(rows, torch.arange(n_rows + 1, device=rows.device))


class _Product(torch.autograd.Function):
    """The product of a matrix and its derivatives, which are products with the transpose."""

    @staticmethod
    def forward(
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
        if torch.is_autocast_enabled(x.device.type) or x.dtype not in _KNOWN:
            # Sparse kernels know no half precision, which autocast would bring.
            with torch.autocast(x.device.type, enabled=False):
                wide = x.to(torch.promote_types(x.dtype, torch.float32))
                return _multiply(starts, columns, values, wide).to(x.dtype)
        return _multiply(starts, columns, values, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, values, values_t, starts, rows, columns, starts_t, rows_t, columns_t = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = _Product.apply(
                grad, values_t, values, starts_t, rows_t, columns_t, starts, rows, columns
            )
        if ctx.needs_input_grad[1]:
            grad_values = (grad[rows] * x[columns]).sum(-1).to(values.dtype)
        return grad_x, grad_values, *(None,) * 7

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dvalues: Tensor | None, *_: Any) -> Tensor:
        x, values, values_t, starts, rows, columns, *rest = ctx.saved_tensors
        tangent: Tensor = x.new_zeros(len(starts) - 1, x.shape[1])
        if dx is not None:
            tangent = tangent + _Product.apply(dx, values, values_t, starts, rows, columns, *rest)
        if dvalues is not None:
            tangent = tangent.index_add(0, rows, dvalues[:, None] * x[columns])
        return tangent

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, *matrix: Tensor
    ) -> tuple[Tensor, int]:
        if any(dim is not None for dim in in_dims[1:]):
            products = [
                _Product.apply(
                    *(_take(t, dim, i) for t, dim in zip((x, *matrix), in_dims, strict=True))
                )
                for i in range(info.batch_size)
            ]
            return torch.stack(products), 0
        x = x.movedim(in_dims[0] or 0, 1)
        product: Tensor = _Product.apply(x.flatten(1), *matrix)
        return product.reshape(len(product), *x.shape[1:]), 1


# torch looks the signature up at every call, a fifth of its time, unless it is there already.
_Product.forward.__signature__ = inspect.signature(_Product.forward)  # type: ignore[attr-defined]


def _multiply(starts: Tensor, columns: Tensor, values: Tensor, x: Tensor) -> Tensor:
    size = (len(starts) - 1, len(x))
    matrix = torch.sparse_csr_tensor(
        starts, columns, values.to(x.dtype), size, check_invariants=False
    )
    product: Tensor = torch.mm(matrix, x)
    return product


def _take(tensor: Tensor, dim: int | None, i: int) -> Tensor:
    return tensor if dim is None else tensor.select(dim, i)
