"""Linear programs whose rows and columns of A all have entries of about one, and the way back."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.sums import root, sums


@dataclass(frozen=True, eq=False)
class Scaling:
    """Programs in units of their own for each variable and each constraint.

    With D_r and D_c the diagonal matrices of `rows` and `columns`, the scaled program has
    `D_r A D_c`, `D_c c`, `D_r b` and bounds divided by D_c: the same program for
    `y = D_c y_scaled` and, with multipliers, `dual = D_r dual_scaled`.

    Args:
        features: The scaled programs.
        rows: Factor of each constraint, shape `(n_constraints,)`.
        columns: Factor of each variable, shape `(n_variables,)`.
    """

    features: LPFeatures
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, x: LPFeatures, rounds: int = 10, pock_chambolle: bool = False) -> "Scaling":
        """Scale by Ruiz's method, and a last time by that of Pock and Chambolle if asked.

        Each round divides every row and every column by the square root of its largest entry, in
        absolute value: all largest entries tend to 1. Empty rows and columns, and those of zeros
        only, keep the factor 1. The factors are functions of A alone, program by program, and are
        differentiated as such, in forward mode too.

        Args:
            x: The programs.
            rounds: Number of rounds, at least 0.
            pock_chambolle: Divide rows and columns at last by the square roots of the sums of their
                absolute values, after which A has a norm of at most 1.

        Raises:
            ValueError: If `rounds` is negative.

        References:
            Ruiz (2001), A scaling algorithm to equilibrate both rows and columns norms in
            matrices, RAL-TR-2001-034. Pock and Chambolle (2011), doi:10.1109/ICCV.2011.6126441,
            lemma 2 with alpha = 1.
        """
        if rounds < 0:
            raise ValueError(f"`rounds` must be at least 0, got {rounds}.")
        row, column = x.edge_index
        rows, columns = torch.ones_like(x.b), torch.ones_like(x.c)
        sizes = x.coefficients.abs()
        for i in range(rounds + pock_chambolle):
            measure = _largest if i < rounds else _sum
            scaled = rows[row] * sizes * columns[column]
            row_sizes, column_sizes = (
                measure(scaled, index, len(ones))
                for index, ones in ((row, rows), (column, columns))
            )
            rows, columns = rows / root(row_sizes, 1.0), columns / root(column_sizes, 1.0)
        features = replace(
            x,
            c=columns * x.c,
            lower=divided(x.lower, columns),
            upper=divided(x.upper, columns),
            b=rows * x.b,
            coefficients=rows[row] * x.coefficients * columns[column],
        )
        return cls(features, rows, columns)


def _largest(sizes: Tensor, index: Tensor, n: int) -> Tensor:
    """Return the largest entry of each of `n` groups, 0 for an empty one.

    Only the place of the entry is found by a reduction, which has no forward-mode derivative; the
    first one wins where there are several.
    """
    with torch.no_grad():
        plain = sizes.detach()
        best = plain.new_zeros(n).scatter_reduce(0, index, plain, "amax")
        numbers = torch.arange(len(sizes), device=sizes.device)
        numbers = torch.where(plain == best[index], numbers, len(sizes))
        place = index.new_full((n,), len(sizes)).scatter_reduce(0, index, numbers, "amin")
    padded = torch.cat([sizes, sizes.new_zeros(1)])
    return padded[place]


def _sum(sizes: Tensor, index: Tensor, n: int) -> Tensor:
    return sums(index, n, sizes)[0]


def divided(bound: Tensor, factor: Tensor) -> Tensor:
    """Divide the finite bounds; an infinite one would give its factor a derivative of NaN."""
    finite = bound.isfinite()
    return torch.where(finite, torch.where(finite, bound, 0.0) / factor, bound)
