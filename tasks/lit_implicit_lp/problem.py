"""A linear program with bounds, in numpy and in full precision."""

from dataclasses import dataclass
from dataclasses import fields as dc_fields

import numpy as np
from numpy.typing import NDArray

from lit_implicit.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """The program: minimise `c @ y` over `lower <= y <= upper` and `A y <= b` (or `= b`).

    All data are dimensionless float64; the matrix A is given by its nonzeros. A program whose
    bounds cross is one without a feasible point; `crossed` finds it.

    Args:
        c: Cost of each variable, shape `(n_variables,)`, at least one.
        rows: Constraint of each nonzero of A, shape `(n_nonzeros,)`.
        columns: Variable of each nonzero of A; no place is named twice.
        coefficients: The nonzeros of A.
        b: Right-hand side of each constraint, shape `(n_constraints,)`.
        is_equality: Constraints that read `= b`, not `<= b`.
        lower: Lower bound of each variable; `-inf` where there is none.
        upper: Upper bound of each variable; `inf` where there is none.

    Raises:
        DataError: If shapes do not fit, a nonzero lies outside of A, or a number is no number:
            given such programs, HiGHS never ends, crashes, or calls one optimal that is none.
    """

    c: Floats
    rows: Integers
    columns: Integers
    coefficients: Floats
    b: Floats
    is_equality: Booleans
    lower: Floats
    upper: Floats

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_matrix()
        for name in ("c", "b", "coefficients"):
            array = getattr(self, name)
            _refuse(~np.isfinite(array), name, array, "must be finite")
        # Not by >= and <=, which are false of NaN.
        why = "must be a number, or {} where there is no bound"
        _refuse(~(self.lower < np.inf), "lower", self.lower, why.format(-np.inf))
        _refuse(~(self.upper > -np.inf), "upper", self.upper, why.format(np.inf))

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

    def equals(self, other: "LinearProgram") -> bool:
        """Say whether two programs are the same to the last bit, in the same order."""
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in dc_fields(self)
        )

    def crossed(self) -> str | None:
        """Name the first variable whose bounds cross, with both of them; None if there is none."""
        crossing = self.lower > self.upper
        if not crossing.any():
            return None
        i = int(crossing.argmax())
        return f"the bounds of variable {i} cross: lower {self.lower[i]:g}, upper {self.upper[i]:g}"

    def _check_shapes(self) -> None:
        fields = {"variables": ("c", "lower", "upper"), "constraints": ("b", "is_equality"),
                  "nonzeros": ("coefficients", "rows", "columns")}  # fmt: skip
        for of, names in fields.items():
            shapes = [np.shape(getattr(self, name)) for name in names]
            if len(shapes[0]) != 1 or len(set(shapes)) > 1:
                given = ", ".join(f"`{n}` {s}" for n, s in zip(names, shapes, strict=True))
                raise DataError(
                    f"A linear program has one entry of each per {of[:-1]}, got {given}."
                )
        if not len(self.c):
            raise DataError(
                "A linear program must have at least one variable, got `c` of shape (0,)."
            )

    def _check_matrix(self) -> None:
        for name, n in (("rows", self.n_constraints), ("columns", self.n_variables)):
            array = getattr(self, name)
            if array.dtype.kind not in "iu" and len(array):
                raise DataError(f"`LinearProgram.{name}` must hold integers, got {array.dtype}.")
            _refuse((array < 0) | (array >= n), name, array, f"must lie in 0 to {n - 1}")
        places = self.rows * self.n_variables + self.columns
        if (places[1:] > places[:-1]).all():
            return  # in order, as the generator has them: quickly seen to be distinct
        order = places.argsort(kind="stable")
        twice = np.zeros(len(places), bool)
        twice[order[1:]] = places[order][1:] == places[order][:-1]
        _refuse(twice, "columns", self.columns, "must not name a place of A twice")


def _refuse(wrong: Booleans, name: str, array: NDArray[np.generic], why: str) -> None:
    """Complain about the first entry that is wrong."""
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(f"`LinearProgram.{name}` {why}, got {array[i]} at {i} of {len(array)}.")
