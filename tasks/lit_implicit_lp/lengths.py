"""Norms of the rows and columns of A, by which certificates are told from small numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.sums import norms


@dataclass(frozen=True, eq=False)
class Lengths:
    """2-norms of rows and columns of A: all that certificates need of it beside products.

    Args:
        rows: Length of each row, shape `(n_constraints,)`; 1 for an empty one.
        columns: Length of each column, shape `(n_variables,)`; 1 for an empty one.
        scaled_rows: Lengths of the rows once columns are divided by theirs.
        scaled_columns: Lengths of the columns once rows are divided by theirs.
    """

    rows: Tensor
    columns: Tensor
    scaled_rows: Tensor
    scaled_columns: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, matrix: SparseMatrix) -> "Lengths":
        """Measure a matrix; about the cost of two sweeps."""
        row, column, values = matrix.rows, matrix.columns, matrix.values
        n_rows, n_columns = (len(m.starts) - 1 for m in (matrix, matrix.mT))
        rows, columns = norms(row, n_rows, values, 1.0), norms(column, n_columns, values, 1.0)
        scaled_rows = norms(row, n_rows, values / columns[column])
        scaled_columns = norms(column, n_columns, values / rows[row])
        return cls(rows, columns, scaled_rows, scaled_columns)

    def keep(self, rows: Tensor, columns: Tensor) -> "Lengths":
        """Return the lengths of what `SparseMatrix.keep` keeps, given the same masks."""
        return Lengths(
            self.rows[rows],
            self.columns[columns],
            self.scaled_rows[rows],
            self.scaled_columns[columns],
        )
