"""Primal-dual hybrid gradient, without anything learned: an operator that answers `LPSolution`."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_implicit import AbstractOperator, Ragged
from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.scaling import Scaling
from lit_implicit_lp.solution import LPSolution
from lit_implicit_lp.sparse import SparseMatrix


@dataclass(frozen=True, eq=False)
class PDHGContext:
    """The programs, scaled and not, and the step sizes of variables and constraints."""

    x: LPFeatures
    matrix: SparseMatrix
    scaled: LPFeatures
    scaled_matrix: SparseMatrix
    columns: Tensor
    rows: Tensor
    weight: Tensor

    @property
    def n_variables(self) -> int:
        return len(self.x.c)


class PDHG(AbstractOperator):
    """State: values and last steps of variables, then constraints, in scaled units."""

    def __init__(self, rtol: float = 1e-4, weight: float | None = None) -> None:
        super().__init__()
        self.rtol, self.weight = rtol, weight
        self.anchor = torch.nn.Parameter(torch.zeros(1))  # a module has a dtype

    def encode(self, x: LPFeatures) -> PDHGContext:
        x = x.prepared(1.0, 1.0, self.anchor.dtype)
        scaling = Scaling.of(x, pock_chambolle=True)
        s = scaling.features
        sizes = Ragged(x.batch, x.n).norm(s.c), Ragged(x.constraint_batch, x.n).norm(s.b)
        weight = torch.where(sizes[0] * sizes[1] > 0, sizes[0] / sizes[1], 1.0)
        if self.weight is not None:
            weight = torch.full_like(weight, self.weight)
        return PDHGContext(x, x.matrix(), s, s.matrix(), scaling.columns, scaling.rows, weight)

    def init_state(self, c: PDHGContext, generator: torch.Generator | None = None) -> Tensor:
        y = torch.zeros_like(c.scaled.c).clamp(c.scaled.lower, c.scaled.upper)
        value = torch.cat([y, torch.zeros_like(c.scaled.b)])
        return torch.stack([value, torch.zeros_like(value)], dim=-1)

    def forward(self, z: Tensor, c: PDHGContext) -> Tensor:
        s, n = c.scaled, c.n_variables
        y, dual = z[:n, 0], z[n:, 0]
        tau, sigma = 0.95 / c.weight[s.batch], 0.95 * c.weight[s.constraint_batch]
        new_y = y - tau * (s.c + (c.scaled_matrix.mT @ dual[:, None])[:, 0])
        new_y = new_y.clamp(s.lower, s.upper)
        new_dual = dual + sigma * ((c.scaled_matrix @ (2 * new_y - y)[:, None])[:, 0] - s.b)
        new_dual = torch.where(s.is_equality.bool(), new_dual, new_dual.clamp(min=0))
        value = torch.cat([new_y, new_dual])
        return torch.stack([value, value - z[:, 0]], dim=-1)

    def decode(self, z: Tensor, c: PDHGContext) -> LPSolution:
        y, dual = z[: c.n_variables], z[c.n_variables :]
        return LPSolution(
            c.columns * y[:, 0], c.rows * dual[:, 0], c.columns * y[:, 1], c.rows * dual[:, 1]
        )

    def layout(self, z: Tensor, c: PDHGContext) -> Ragged:
        return Ragged(torch.cat([c.x.batch, c.x.constraint_batch]), c.x.n)

    def stop(self, z: Tensor, gz: Tensor, c: PDHGContext) -> Tensor:
        found = verdict(c.x, c.matrix, self.decode(gz, c), self.rtol)
        return found != LPVerdict.UNDECIDED

    def select(self, c: PDHGContext, keep: Tensor) -> PDHGContext:
        variables, constraints = keep[c.x.batch], keep[c.x.constraint_batch]
        return PDHGContext(
            select_features(c.x, keep),
            c.matrix.keep(constraints, variables),
            select_features(c.scaled, keep),
            c.scaled_matrix.keep(constraints, variables),
            c.columns[variables],
            c.rows[constraints],
            c.weight[keep],
        )


def select_features(x: LPFeatures, keep: Tensor) -> LPFeatures:
    """The programs in `keep`, numbered anew."""
    number = keep.cumsum(0) - 1
    variables, constraints = keep[x.batch], keep[x.constraint_batch]
    edges = constraints[x.edge_index[0]]
    row, column = x.edge_index[:, edges]
    return replace(
        x,
        **{name: getattr(x, name)[variables] for name in ("c", "lower", "upper")},
        **{name: getattr(x, name)[constraints] for name in ("b", "is_equality")},
        coefficients=x.coefficients[edges],
        edge_index=torch.stack([constraints.cumsum(0)[row] - 1, variables.cumsum(0)[column] - 1]),
        batch=number[x.batch[variables]],
        constraint_batch=number[x.constraint_batch[constraints]],
        n=int(keep.sum()),
    )
