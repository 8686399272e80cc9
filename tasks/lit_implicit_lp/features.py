"""What a network may see of a batch of linear programs, and what an operator makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_implicit.layout import Ragged
from lit_implicit_lp.sparse import SparseMatrix


@dataclass(frozen=True, eq=False)
class LPFeatures:
    """The data of a batch of linear programs, without solutions: the input x.

    Args:
        c, lower, upper: Costs and bounds, shape `(n_variables,)` over all programs.
        b: Right-hand sides, shape `(n_constraints,)` over all programs.
        is_equality: Constraints that read `=`, not `<=`.
        coefficients: Nonzeros of A, shape `(n_nonzeros,)`.
        edge_index: Constraint and variable of each nonzero, shape `(2, n_nonzeros)`.
        batch: Program of each variable.
        constraint_batch: Program of each constraint.
        n: Number of programs.
    """

    c: Tensor
    lower: Tensor
    upper: Tensor
    b: Tensor
    is_equality: Tensor
    coefficients: Tensor
    edge_index: Tensor
    batch: Tensor
    constraint_batch: Tensor
    n: int

    @classmethod
    def of(cls, batch: Any) -> "LPFeatures":
        """Take the features out of a batch of `LPGraph`s."""
        return cls(
            c=batch.c,
            lower=batch.lower,
            upper=batch.upper,
            b=batch.b,
            is_equality=batch.is_equality,
            coefficients=batch.coefficients,
            edge_index=batch.edge_index,
            batch=batch.batch,
            constraint_batch=batch.constraint_batch,
            n=batch.num_graphs,
        )

    def leaves(self) -> tuple[Tensor, ...]:
        """Return costs, lower and upper bounds, right-hand sides and nonzeros of A.

        An infinite bound is none: it has no neighbors to compare with.
        """
        lower, upper = self.lower[self.lower.isfinite()], self.upper[self.upper.isfinite()]
        return self.c, lower, upper, self.b, self.coefficients

    def with_leaves(self, leaves: Sequence[Tensor]) -> "LPFeatures":
        """Return the features with other leaves, in the order of `leaves`."""
        c, lower, upper, b, coefficients = leaves
        return replace(
            self,
            c=c,
            lower=self.lower.to(lower.dtype).index_put((self.lower.isfinite(),), lower),
            upper=self.upper.to(upper.dtype).index_put((self.upper.isfinite(),), upper),
            b=b,
            coefficients=coefficients,
        )

    def leaf_layouts(self) -> tuple[Ragged, ...]:
        """Say which program each entry of each leaf belongs to."""
        owners = (
            self.batch,
            self.batch[self.lower.isfinite()],
            self.batch[self.upper.isfinite()],
            self.constraint_batch,
            self.batch[self.edge_index[1]],
        )
        return tuple(Ragged(owner, self.n) for owner in owners)

    def prepared(self, cost: float, bound: float, dtype: torch.dtype) -> "LPFeatures":
        """Return the features in units of `cost` for costs and of `bound` for bounds.

        The units are taken before the cast, so that a network in double precision sees small
        perturbations exactly.
        """
        return replace(
            self,
            c=(self.c / cost).to(dtype),
            lower=(self.lower / bound).to(dtype),
            upper=(self.upper / bound).to(dtype),
            b=self.b.to(dtype),
            is_equality=self.is_equality.to(dtype),
            coefficients=self.coefficients.to(dtype),
        )

    def nodes(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Say which variables and which constraints belong to the programs in `keep`."""
        return keep[self.batch], keep[self.constraint_batch]

    def select(self, keep: Tensor) -> "LPFeatures":
        """Return the features of the programs in `keep` (`(n,)`, boolean), numbered anew."""
        number = keep.cumsum(0) - 1
        variables, constraints = self.nodes(keep)
        rows, columns = self.edge_index
        nonzeros = variables[columns]
        places = [
            (mask.cumsum(0) - 1)[place[nonzeros]]
            for mask, place in ((constraints, rows), (variables, columns))
        ]
        return LPFeatures(
            c=self.c[variables],
            lower=self.lower[variables],
            upper=self.upper[variables],
            b=self.b[constraints],
            is_equality=self.is_equality[constraints],
            coefficients=self.coefficients[nonzeros],
            edge_index=torch.stack(places),
            batch=number[self.batch[variables]],
            constraint_batch=number[self.constraint_batch[constraints]],
            n=int(keep.sum()),
        )

    def matrix(self) -> SparseMatrix:
        """Return A of all programs, a matrix of diagonal blocks."""
        rows, columns = self.edge_index
        return SparseMatrix.from_coordinates(
            rows, columns, self.coefficients, len(self.b), len(self.c)
        )

    def variable_features(self) -> Tensor:
        """Return cost, lower and upper bound of each variable, shape `(n_variables, 3)`."""
        return torch.stack([self.c, self.lower, self.upper], dim=-1)

    def constraint_features(self) -> Tensor:
        """Return right-hand side and kind of each constraint, shape `(n_constraints, 2)`."""
        return torch.stack([self.b, self.is_equality], dim=-1)


@dataclass(frozen=True, eq=False)
class LPContext:
    """What G sees of a batch of programs at every iteration, computed once.

    Args:
        variables: Embedded variables, shape `(n_variables, width)`.
        constraints: Embedded constraints, shape `(n_constraints, width)`.
        matrix: A of all programs.
        batch: Program of each variable.
        constraint_batch: Program of each constraint.
        n: Number of programs.
    """

    variables: Tensor
    constraints: Tensor
    matrix: SparseMatrix
    batch: Tensor
    constraint_batch: Tensor
    n: int

    def select(self, keep: Tensor) -> "LPContext":
        """Return the context of the programs in `keep` (`(n,)`, boolean), numbered anew."""
        number = keep.cumsum(0) - 1
        variables, constraints = keep[self.batch], keep[self.constraint_batch]
        return LPContext(
            variables=self.variables[variables],
            constraints=self.constraints[constraints],
            matrix=self.matrix.keep(constraints, variables),
            batch=number[self.batch[variables]],
            constraint_batch=number[self.constraint_batch[constraints]],
            n=int(keep.sum()),
        )
