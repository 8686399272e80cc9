"""The exact solution of a linear program, by HiGHS, and whether it is the only one."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from lit_implicit_lp.problem import Booleans, Floats, LinearProgram

TOLERANCE = 1e-10
"""Primal and dual feasibility tolerance of HiGHS, the tightest that it offers (absolute)."""


class LPStatus(IntEnum):
    """What the oracle found out about a program."""

    OPTIMAL = 0
    INFEASIBLE = 1
    UNBOUNDED = 2
    OTHER = 3


@dataclass(frozen=True, eq=False)
class LPAnswer:
    """What the oracle says; the arrays are meaningful only if `status` is `OPTIMAL`.

    Args:
        status: Optimal, infeasible, unbounded, or other: HiGHS gave up.
        y: An optimal point, a vertex, shape `(n_variables,)`.
        objective: `c @ y`.
        reduced_costs: `c - A^T row_duals`: at least 0 at a lower bound, at most 0 at an upper one.
        row_duals: Change of the objective per unit of b, at most 0 for `<=`.
    """

    status: LPStatus
    y: Floats
    objective: float
    reduced_costs: Floats
    row_duals: Floats


class LPOracle:
    """Solves linear programs one by one, each from scratch, on one thread of its own.

    HiGHS releases Python's lock while it solves, so that one oracle per thread uses all cores.
    An answer depends on the program alone, not on those solved before.
    """

    def __init__(self) -> None:
        import highspy

        self._highspy: Any = highspy
        self._solver = self._highspy.Highs()
        options: dict[str, Any] = {
            "output_flag": False,
            "threads": 1,
            # On programs of a few hundred nonzeros presolve takes longer than the simplex method,
            # and without it "unbounded" and "infeasible" are told apart.
            "presolve": "off",
            "primal_feasibility_tolerance": TOLERANCE,
            "dual_feasibility_tolerance": TOLERANCE,
        }
        for name, value in options.items():
            self._solver.setOptionValue(name, value)

    def solve(self, program: LinearProgram) -> LPAnswer:
        """Find an optimal vertex, or say why there is none.

        A program with crossing bounds is infeasible. Cost: about 0.2 ms for 10 x 50.
        """
        if program.crossed():
            return _no_answer(program, LPStatus.INFEASIBLE)
        row_lower = np.where(program.is_equality, program.b, -np.inf)
        return self._run(program, program.c, program.lower, program.upper, row_lower, program.b)

    def is_degenerate(self, program: LinearProgram, answer: LPAnswer) -> bool:
        """Say whether the program has more than one optimal point.

        An optimal point is one that is feasible and complementary to the dual answer: variables
        with a reduced cost and constraints with a dual stay where they are. If their columns leave
        no direction to move in, the optimum is unique. Otherwise other bounds may still block
        every such direction, so the least and the greatest value of a random linear function over
        the set of optimal points is compared: it is constant on a set of more than one point with
        probability zero.

        Args:
            program: The program.
            answer: Its optimal answer.

        Raises:
            ValueError: If the answer is not optimal.
        """
        if answer.status is not LPStatus.OPTIMAL:
            raise ValueError(f"`answer.status` must be OPTIMAL, got {answer.status.name}.")
        # Costs are small (0.01): what counts as zero goes with their size, but stays above what
        # the solver itself cannot tell from zero.
        zero = max(10 * TOLERANCE, 1e-8 * float(np.abs(program.c).max(initial=0.0)))
        is_free = (np.abs(answer.reduced_costs) <= zero) & (program.lower < program.upper)
        is_tight = program.is_equality | (np.abs(answer.row_duals) > zero)
        if _pins(program, is_free, is_tight):
            return False
        lower = np.where(is_free, program.lower, answer.y)
        upper = np.where(is_free, program.upper, answer.y)
        activity = program.activity(answer.y)
        row_upper = np.where(is_tight, activity, np.maximum(program.b, activity))
        row_lower = np.where(is_tight, activity, -np.inf)
        direction = np.random.default_rng(0).normal(size=program.n_variables)
        ends = [
            self._run(program, sign * direction, lower, upper, row_lower, row_upper)
            for sign in (1.0, -1.0)
        ]
        if any(end.status is LPStatus.UNBOUNDED for end in ends):
            return True
        width = max(float(np.abs(end.y - answer.y).max()) for end in ends)
        return width > 1e-6 * (1.0 + float(np.abs(answer.y).max()))

    def _run(
        self,
        program: LinearProgram,
        costs: Floats,
        lower: Floats,
        upper: Floats,
        row_lower: Floats,
        row_upper: Floats,
    ) -> LPAnswer:
        """Solve with the matrix of `program` and everything else as given."""
        highspy, solver = self._highspy, self._solver
        order = np.argsort(program.rows, kind="stable")
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = program.n_variables, program.n_constraints
        model.col_cost_, model.col_lower_, model.col_upper_ = costs, lower, upper
        model.row_lower_, model.row_upper_ = row_lower, row_upper
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kRowwise
        matrix.start_ = np.searchsorted(program.rows[order], np.arange(program.n_constraints + 1))
        matrix.index_, matrix.value_ = program.columns[order], program.coefficients[order]
        if solver.passModel(model) == highspy.HighsStatus.kError:
            # What it holds now is not this program.
            return _no_answer(program, LPStatus.OTHER)
        solver.run()
        status = self._status(solver.getModelStatus())
        if status is not LPStatus.OPTIMAL:
            return _no_answer(program, status)
        solution = solver.getSolution()
        y = np.array(solution.col_value)
        return LPAnswer(
            status=status,
            y=y,
            objective=float(costs @ y),
            reduced_costs=np.array(solution.col_dual),
            row_duals=np.array(solution.row_dual),
        )

    def _status(self, status: Any) -> LPStatus:
        known = self._highspy.HighsModelStatus
        names = {
            known.kOptimal: LPStatus.OPTIMAL,
            known.kInfeasible: LPStatus.INFEASIBLE,
            known.kUnbounded: LPStatus.UNBOUNDED,
        }
        return names.get(status, LPStatus.OTHER)


def _no_answer(program: LinearProgram, status: LPStatus) -> LPAnswer:
    nothing = np.full(program.n_variables, np.nan)
    return LPAnswer(status, nothing, float("nan"), nothing, np.full(program.n_constraints, np.nan))


def _pins(program: LinearProgram, is_free: Booleans, is_tight: Booleans) -> bool:
    """Whether the tight constraints leave the free variables no direction to move in."""
    n_free = int(is_free.sum())
    if n_free == 0:
        return True
    if n_free > is_tight.sum():
        return False
    columns = program.dense()[is_tight][:, is_free]
    # A wide margin: a nearly singular matrix only sends the question to the exact test.
    tol = 1e-9 * float(np.abs(columns).max())
    return int(np.linalg.matrix_rank(columns, tol=tol)) == n_free
