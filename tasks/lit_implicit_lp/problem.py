"""A linear program with bounds, in numpy and in full precision."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """The program: minimise `c @ y` over `lower <= y <= upper` and `A y <= b` (or `= b`).

    All data are dimensionless float64; the matrix A is given by its nonzeros.

    Args:
        c: Cost of each variable, shape `(n_variables,)`.
        rows: Constraint of each nonzero of A, shape `(n_nonzeros,)`.
        columns: Variable of each nonzero of A.
        coefficients: The nonzeros of A.
        b: Right-hand side of each constraint, shape `(n_constraints,)`.
        is_equality: Constraints that read `= b`, not `<= b`.
        lower: Lower bound of each variable; `-inf` where there is none.
        upper: Upper bound of each variable; `inf` where there is none.
    """

    c: Floats
    rows: Integers
    columns: Integers
    coefficients: Floats
    b: Floats
    is_equality: Booleans
    lower: Floats
    upper: Floats

    @property
    def n_variables(self) -> int:
        """Number of variables."""
        return len(self.c)

    @property
    def n_constraints(self) -> int:
        """Number of constraints, bounds not counted."""
        return len(self.b)

    def activity(self, y: Floats) -> Floats:
        """Return `A @ y`, shape `(n_constraints,)`."""
        a_y = np.zeros(self.n_constraints)
        np.add.at(a_y, self.rows, self.coefficients * y[self.columns])
        return a_y

    def dense(self) -> Floats:
        """Return A as a dense array, shape `(n_constraints, n_variables)`."""
        a = np.zeros((self.n_constraints, self.n_variables))
        np.add.at(a, (self.rows, self.columns), self.coefficients)
        return a

    def violation(self, y: Floats) -> float:
        """Return the largest violation of a constraint or bound at `y`; 0 if `y` is feasible."""
        excess = self.activity(y) - self.b
        constraints = np.where(self.is_equality, np.abs(excess), excess)
        parts = (constraints, self.lower - y, y - self.upper)
        return max(0.0, *(float(part.max()) for part in parts if len(part)))
