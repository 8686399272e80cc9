"""Proofs of infeasibility and unboundedness, and directions that prove nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lp.lp_programs import features, optimal_pair, program, vector

from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.proofs import farkas, ray
from lit_implicit_lp.solution import LPSolution

INF = np.inf


def judge(programs, primal=None, dual=None, primal_step=None, dual_step=None, dtype=None, **kwargs):
    """The verdicts on an answer that is zero where nothing is given."""
    x = features(*programs, dtype=dtype or torch.float64)
    zero = {"primal": torch.zeros_like(x.c), "dual": torch.zeros_like(x.b)}
    answer = LPSolution(
        zero["primal"] if primal is None else primal,
        zero["dual"] if dual is None else dual,
        zero["primal"] if primal_step is None else primal_step,
        zero["dual"] if dual_step is None else dual_step,
    )
    return [LPVerdict(code) for code in verdict(x, x.matrix(), answer, **kwargs).tolist()]


# x + y <= 1 and x + y >= 2, x and y free: the sum of both rows reads 0 <= -1.
ROWS = program([1, 1], [[1, 1], [-1, -1]], [1, -2], [False, False], -INF, INF)
# x + y = 5 with 0 <= x, y <= 2.
BOX = program([1, 1], [[1, 1]], [5], [True], 0, 2)
# min -x - y, x - y <= 1, x - y >= -1, 0 <= x, y: along (1, 1) without end.
ENDLESS = program([-1, -1], [[1, -1], [-1, 1]], [1, 1], [False, False], 0, INF)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
def test_directions_prove_at_any_length(length, dtype):
    dual_step = length * torch.tensor([1, 1, -1, 0, 0], dtype=dtype)
    primal_step = length * torch.tensor([0, 0, 0, 0, 1, 1], dtype=dtype)
    found = judge(
        [ROWS, BOX, ENDLESS],
        primal=torch.ones(6, dtype=dtype),
        primal_step=primal_step,
        dual_step=dual_step,
        dtype=dtype,
    )
    assert found == [LPVerdict.INFEASIBLE, LPVerdict.INFEASIBLE, LPVerdict.UNBOUNDED]


def test_values_of_certificates_are_those_of_the_formulas():
    x = features(ROWS, BOX)
    found = farkas(x, x.matrix(), vector(2, 1, -3))
    # ROWS: d = (1, 1/2) gives r = (1/2, 1/2), which no bound takes up, and b'd = 0.
    # BOX: d = -1 gives r = (-1, -1), at most 4 by the upper bounds: -4 + 5 = 1.
    assert found.value.tolist() == pytest.approx([0, 1])
    # Relative: rows' share of columns of length sqrt 2 is 1 for both rows, so the size is
    # |(1, 1/2)|, and 1/2 of what is left over is sqrt(1/4); times the terms, 1 and 1.
    assert found.violation.tolist() == pytest.approx([max(0.5**0.5, 2 * 0.5 / 1.25**0.5), 0])
    x = features(ENDLESS)
    found = ray(x, x.matrix(), vector(2, 1))
    assert found.value.tolist() == [1.5]
    assert found.violation.tolist() == pytest.approx([0.5])


def test_directions_of_the_wrong_sign_are_clipped():
    """A step with a part that no multiplier can have proves by the rest of it."""
    free_row = program([1], [[1], [-1], [1]], [1, -2, 7], [False] * 3, -INF, INF)
    x = features(free_row)
    found = farkas(x, x.matrix(), vector(1, 1, -0.5))
    assert found.value.tolist() == [1]
    assert found.violation.tolist() == [0]
    half = program([-1, 1], [[1, 0]], [5], [False], [-INF, 0], [INF, 3])
    x = features(half)
    assert ray(x, x.matrix(), vector(-1, 8)).value.tolist() == [-1]  # y has no way at all


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_make_no_proof_out_of_nothing(unit):
    """Programs with an optimum, in other units of costs, rows or solutions."""
    bounded = program([-1], [[1]], [1], [False], 0, INF)
    x = features(bounded)
    for moved in (
        replace(x, c=unit * x.c),
        replace(x, b=unit * x.b),
        replace(x, coefficients=unit * x.coefficients),
        replace(x, coefficients=unit * x.coefficients, b=unit * x.b),
    ):
        assert not ray(moved, moved.matrix(), vector(1)).holds(0.1)
    # x = 1 and x - y = 0, x and y free.
    feasible = program([0, 0], [[1, 0], [1, -1]], [1, 0], [True, True], -INF, INF)
    x = features(feasible)
    first, second = x.edge_index[0] == 0, x.edge_index[0] == 1
    for moved in (
        replace(x, b=unit * x.b),
        replace(x, coefficients=torch.where(first, unit, 1.0) * x.coefficients),
        replace(x, coefficients=torch.where(second, unit, 1.0) * x.coefficients),
    ):
        assert not farkas(moved, moved.matrix(), vector(-1, 0)).holds(0.1)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_a_row_in_other_units_than_the_rest_still_counts(unit):
    """The one row that bounds the program is a millionth of the others, in its coefficients."""
    bounded = program([-1, 0], [[1, -1], [unit, 0]], [0, 1], [True, False], 0, INF)
    x = features(bounded)
    assert not ray(x, x.matrix(), vector(1, 1)).holds(0.1)
    feasible = program([0, 0], [[1, -1], [unit, 0]], [0, 1], [True, True], -INF, INF)
    x = features(feasible)
    assert not farkas(x, x.matrix(), vector(-unit, -1)).holds(0.1)
    assert not farkas(x, x.matrix(), vector(0, -1)).holds(0.1)


@pytest.mark.parametrize("error", [0.9e-4, 1.1e-4])
def test_a_proof_may_miss_by_the_tolerance_and_no_more(error):
    # y <= -1 and -y <= 0: the value is 1, the only term of its sum; r is the error.
    flat = program([0], [[1], [-1]], [-1, 0], [False, False], -INF, INF)
    found = judge([flat], primal=vector(5), dual_step=vector(1, 1 - error))
    assert found == [LPVerdict.INFEASIBLE if error < 1e-4 else LPVerdict.UNDECIDED]
    looser = judge([flat], primal=vector(5), dual_step=vector(1, 1 - error), tolerance=1e-3)
    assert looser == [LPVerdict.INFEASIBLE]


def test_a_huge_bound_does_not_hide_a_proof_nor_makes_one():
    # x + y <= 1, x + y >= 2, upper bounds of 1e9: a last digit in r would cost more than the value.
    p = replace(ROWS, upper=np.full(2, 1e9))
    assert judge([p], dual_step=vector(1 + 1e-8, 1)) == [LPVerdict.INFEASIBLE]
    # x >= 1e9 and x <= 5: the huge bound is the reason.
    p = program([1], [[1]], [5], [False], 1e9, INF)
    assert judge([p], primal=vector(5), dual_step=vector(1)) == [LPVerdict.INFEASIBLE]
    # x = 1e6 has a solution.
    p = program([0], [[1]], [1e6], [True], -1e9, 1e9)
    assert judge([p], dual_step=vector(-1)) == [LPVerdict.UNDECIDED]


def test_an_empty_row_that_cannot_hold_and_crossed_bounds_are_infeasible():
    empty = program([1], [[0]], [-1], [False], 0, 1)
    crossed = program([1], [[1]], [1], [False], 2, 1)
    found = judge([empty, crossed], dual_step=vector(1, 0))
    assert found == [LPVerdict.INFEASIBLE, LPVerdict.INFEASIBLE]


def test_an_optimal_pair_is_optimal_whatever_its_steps_are():
    vertex = program([-1, -2], [[1, 1]], [1], [False], 0, INF)
    y, dual = optimal_pair(vertex, ENDLESS_BUT_BOXED)
    found = judge([vertex, ENDLESS_BUT_BOXED], y, dual, primal_step=vector(1, 1, 1, 1), rtol=1e-8)
    assert found == [LPVerdict.OPTIMAL, LPVerdict.OPTIMAL]
    assert judge([vertex, ENDLESS_BUT_BOXED], y + 1e-3, dual, rtol=1e-6) == [
        LPVerdict.UNDECIDED,
        LPVerdict.UNDECIDED,
    ]


ENDLESS_BUT_BOXED = replace(ENDLESS, upper=np.full(2, 4.0))


def test_a_program_with_a_finite_box_has_no_ray():
    assert judge([ENDLESS_BUT_BOXED], primal_step=vector(1, 1)) == [LPVerdict.UNDECIDED]


def test_answers_without_numbers_or_steps_are_undecided():
    nan = torch.full((2,), torch.nan).double()
    assert judge([ROWS], primal=nan) == [LPVerdict.UNDECIDED]
    assert judge([ROWS], dual_step=nan, primal_step=nan) == [LPVerdict.UNDECIDED]
    assert judge([ROWS, BOX]) == [LPVerdict.UNDECIDED, LPVerdict.UNDECIDED]


def test_lengths_are_those_of_rows_and_columns():
    x = features(program([1, 1], [[3, 4], [0, 2], [0, 0]], [1, 1, 1], [False] * 3, 0, INF), BOX)
    lengths = Lengths.of(x.matrix())
    assert lengths.rows.tolist() == pytest.approx([5, 2, 1, 2**0.5])
    assert lengths.columns.tolist() == pytest.approx([3, 20**0.5, 1, 1])
    assert lengths.scaled_rows.tolist() == pytest.approx([1.8**0.5, 0.2**0.5, 0, 2**0.5])
    assert lengths.scaled_columns.tolist() == pytest.approx([0.6, 1.64**0.5, 0.5**0.5, 0.5**0.5])
    rows, columns = x.constraint_batch == 1, x.batch == 1
    kept = lengths.keep(rows, columns)
    alone = Lengths.of(x.matrix().keep(rows, columns))
    for name in ("rows", "columns", "scaled_rows", "scaled_columns"):
        assert torch.equal(getattr(kept, name), getattr(alone, name))
    given = ray(x, x.matrix(), vector(1, 1, 0, 0), lengths).violation
    assert torch.equal(given, ray(x, x.matrix(), vector(1, 1, 0, 0)).violation)


def test_iterates_that_grow_without_end_prove_as_their_steps_do():
    found = judge(
        [ROWS, BOX, ENDLESS], primal=vector(0, 0, 1, 1, 9, 9), dual=vector(3, 3, -9, 0, 0)
    )
    assert found == [LPVerdict.INFEASIBLE, LPVerdict.INFEASIBLE, LPVerdict.UNBOUNDED]
