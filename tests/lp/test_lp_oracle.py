"""Answers to programs made by hand, and optimality conditions on random ones."""

from dataclasses import replace

import numpy as np
import pytest
from lp.lp_programs import program

from lit_implicit.errors import DataError
from lit_implicit_lp.generator import draw_program
from lit_implicit_lp.labels import CHUNK, LabelSettings, label_chunk
from lit_implicit_lp.oracle import LPOracle, LPStatus
from lit_implicit_lp.problem import LinearProgram

UNIQUE = {
    # min -x - 2y, x + y <= 1, 0 <= x, y
    "vertex": (program([-1, -2], [[1, 1]], [1], [False], 0, np.inf), [0, 1]),
    "bounds only": (program([1, -1], np.zeros((0, 2)), [], [], -2, 3), [-2, 3]),
    # The cost is zero, but the constraints leave one point: x + y = 2 with x, y <= 1.
    "one feasible point": (program([0, 0], [[1, 1]], [2], [True], 0, 1), [1, 1]),
    # Primal degenerate: three constraints meet in (1, 0), and only one of them is needed.
    "primal degenerate": (
        program([-1, 0], [[1, 1], [1, -1], [2, 1]], [1, 1, 2], [False] * 3, 0, np.inf),
        [1, 0],
    ),
    "fixed variable without cost": (
        program([0, 1], [[1, 1]], [9], [False], [2, 0], [2, 5]),
        [2, 0],
    ),
    "equalities": (program([1, 1], [[1, 2], [3, 1]], [5, 5], [True] * 2, -9, 9), [1, 2]),
}
SEVERAL = {
    "zero cost": program([0, 1], [[1, 1]], [9], [False], 0, 5),
    "edge parallel to the cost": program([-1, -1], [[1, 1]], [1], [False], 0, 1),
    "free direction": program([1, 0, 0], [[0, 1, -1]], [0], [True], -1, 1),
    "unbounded set of optima": program([1, 0], [[1, 0]], [9], [False], 0, np.inf),
    "no cost at all": program([0, 0], [[1, 1]], [1], [False], 0, 1),
}


@pytest.mark.parametrize("name", UNIQUE)
def test_unique_optimum_is_found_and_recognised(name):
    lp, y = UNIQUE[name]
    oracle = LPOracle()
    answer = oracle.solve(lp)
    assert answer.status is LPStatus.OPTIMAL
    assert answer.y == pytest.approx(y, abs=1e-9)
    assert answer.objective == pytest.approx(lp.c @ y, abs=1e-9)
    assert not oracle.is_degenerate(lp, answer)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_optima_are_recognised(name):
    oracle = LPOracle()
    answer = oracle.solve(SEVERAL[name])
    assert answer.status is LPStatus.OPTIMAL
    assert oracle.is_degenerate(SEVERAL[name], answer)


def test_many_optima_among_random_programs_are_recognised():
    # Two equal columns of A with equal costs and wide bounds: only their sum counts. Optima are
    # several unless both variables are at the same bound.
    oracle = LPOracle()
    n_several = 0
    for i in range(60):
        lp = draw_program(1, 0, i, [(5, 12, 30)])
        a, c = lp.dense(), lp.c.copy()
        lower, upper = lp.lower.copy(), lp.upper.copy()
        a[:, 1], c[1], lower[1], upper[1] = a[:, 0], c[0], lower[0], upper[0]
        twin = program(c, a, lp.b, lp.is_equality, lower, upper)
        answer = oracle.solve(twin)
        if answer.status is LPStatus.OPTIMAL:
            total = answer.y[0] + answer.y[1]
            expected = 2 * lower[0] + 1e-7 < total < 2 * upper[0] - 1e-7
            assert oracle.is_degenerate(twin, answer) == expected
            n_several += expected
    assert n_several > 3


def test_infeasible_and_unbounded_programs_are_told_apart():
    oracle = LPOracle()
    infeasible = program([1, 1], [[1, 1]], [-1], [False], 0, 1)
    unbounded = program([-1, 0], [[0, 1]], [1], [False], 0, np.inf)
    crossing = program([1, 1], [[1, 1]], [9], [False], [0, 2], [1, 1])
    assert oracle.solve(infeasible).status is LPStatus.INFEASIBLE
    assert oracle.solve(unbounded).status is LPStatus.UNBOUNDED
    answer = oracle.solve(crossing)
    assert answer.status is LPStatus.INFEASIBLE
    with pytest.raises(ValueError, match="must be OPTIMAL, got INFEASIBLE"):
        oracle.is_degenerate(crossing, answer)


def test_labels_satisfy_the_optimality_conditions():
    oracle, n_checked = LPOracle(), 0
    for i in range(200):
        lp = draw_program(2, 0, i, [(10, 50, 100), (4, 9, 15)])
        answer = oracle.solve(lp)
        if answer.status is not LPStatus.OPTIMAL:
            continue
        n_checked += 1
        y, duals, reduced = answer.y, answer.row_duals, answer.reduced_costs
        # Rounding of sums of 50 numbers of size 10, and HiGHS' own tolerance of 1e-10.
        assert lp.violation(y) < 1e-8
        assert reduced == pytest.approx(lp.c - lp.dense().T @ duals, abs=1e-12)
        assert duals[~lp.is_equality].max(initial=0.0) < 1e-10
        slack = lp.b - lp.activity(y)
        assert np.abs(duals * slack).max() < 1e-9
        assert np.abs(np.maximum(reduced, 0) * (y - lp.lower)).max() < 1e-9
        assert np.abs(np.minimum(reduced, 0) * (lp.upper - y)).max() < 1e-9
        bound_terms = np.where(reduced > 0, lp.lower, lp.upper) @ reduced
        assert answer.objective == pytest.approx(lp.b @ duals + bound_terms, abs=1e-8)
    assert n_checked > 80


def test_answer_does_not_depend_on_what_was_solved_before():
    used, n_checked = LPOracle(), 0
    for i in range(10):
        lp = draw_program(0, 0, i, [(10, 50, 100)])
        answer, alone = used.solve(lp), LPOracle().solve(lp)
        assert answer.status is alone.status
        n_checked += answer.status is LPStatus.OPTIMAL
        assert np.array_equal(answer.y, alone.y, equal_nan=True)
    assert n_checked > 2


def exchanged(array, i, value):
    array = array.copy()
    array[i] = value
    return array


WRONG = {
    # Without the check HiGHS never ends on the first, calls others optimal, and crashes on columns
    # that A does not have.
    "cost": (lambda p: {"c": exchanged(p.c, 2, np.nan)}, r"`LinearProgram.c` .*got nan at 2 of 8"),
    "infinite cost": (lambda p: {"c": exchanged(p.c, 0, np.inf)}, r"must be finite, got inf at 0"),
    "side": (lambda p: {"b": exchanged(p.b, 1, np.nan)}, r"`LinearProgram.b` must be finite"),
    "nonzero": (lambda p: {"coefficients": exchanged(p.coefficients, 1, -np.inf)},
                r"`LinearProgram.coefficients` must be finite, got -inf at 1 of 12"),
    "bound": (lambda p: {"lower": exchanged(p.lower, 3, np.nan)},
              r"`LinearProgram.lower` must be a number, or -inf .*, got nan at 3 of 8"),
    "lower bound": (lambda p: {"lower": exchanged(p.lower, 3, np.inf)}, r"got inf at 3 of 8"),
    "upper bound": (lambda p: {"upper": exchanged(p.upper, 3, -np.inf)}, r"`LinearProgram.upper`"),
    "length": (lambda p: {"upper": p.upper[1:]}, r"`c` \(8,\), `lower` \(8,\), `upper` \(7,\)"),
    "shape": (lambda p: {"b": p.b[None]}, r"per constraint, got `b` \(1, 3\)"),
    "row": (lambda p: {"rows": exchanged(p.rows, 0, 3)}, r"rows` must lie in 0 to 2, got 3 at 0"),
    "column": (lambda p: {"columns": exchanged(p.columns, 0, -1)}, r"0 to 7, got -1 at 0 of 12"),
    "place": (lambda p: {"rows": exchanged(p.rows, 0, p.rows[5]),
                         "columns": exchanged(p.columns, 0, p.columns[5])}, r"a place of A twice"),
    "real rows": (lambda p: {"rows": p.rows + 0.5}, r"must hold integers, got float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_program_that_is_none_is_refused(name):
    change, message = WRONG[name]
    lp = draw_program(0, 0, 0, [(3, 8, 12)])
    with pytest.raises(DataError, match=message):
        replace(lp, **change(lp))


def test_program_without_variables_is_refused():
    nothing, places = np.zeros(0), np.zeros(0, int)
    with pytest.raises(DataError, match="at least one variable"):
        LinearProgram(
            nothing, places, places, nothing, nothing, nothing.astype(bool), nothing, nothing
        )


def test_bounds_that_cross_are_named():
    lp = program([1, 1, 1], [[1, 1, 1]], [9], [False], [0, 2, 3], [1, 1.5, 0])
    assert lp.crossed() == "the bounds of variable 1 cross: lower 2, upper 1.5"
    assert program([1], [[1]], [9], [False], [2], [2]).crossed() is None


def test_number_too_large_for_the_solver_is_no_answer():
    oracle = LPOracle()
    lp = UNIQUE["vertex"][0]
    assert oracle.solve(lp).status is LPStatus.OPTIMAL
    # HiGHS refuses nonzeros from 1e15 on.
    answer = oracle.solve(replace(lp, coefficients=np.array([1.0, 1e16])))
    assert answer.status is LPStatus.OTHER
    assert np.isnan(answer.y).all()


def test_program_without_a_solution_is_never_labelled():
    settings = LabelSettings(0, 0, ((6, 8, 30),))
    chunk, oracle = label_chunk(settings, 0), LPOracle()
    labelled = set(chunk["index"].tolist())
    n_without = 0
    for i in range(CHUNK):
        without = oracle.solve(draw_program(0, 0, i, settings.sizes)).status is not LPStatus.OPTIMAL
        assert without == (i not in labelled)
        n_without += without
    assert n_without > 20


def test_violation_by_hand():
    lp = program([0, 0], [[1, 1], [1, -1]], [1, 0], [False, True], 0, 1)
    assert lp.violation(np.array([0.5, 0.5])) == 0.0
    assert lp.violation(np.array([1.0, 0.75])) == pytest.approx(0.75)
    assert lp.violation(np.array([-0.5, 0.0])) == pytest.approx(0.5)
    assert lp.activity(np.array([1.0, 0.75])) == pytest.approx([1.75, 0.25])
