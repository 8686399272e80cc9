"""The paper's distribution, and programs that depend on (seed, stream, index) alone."""

import numpy as np
import pytest

from lit_implicit.errors import DataError
from lit_implicit_lp.generator import MODES, draw_perturbation, draw_program, perturbed
from lit_implicit_lp.oracle import LPOracle, LPStatus

PAPER = [(10, 50, 100)]


@pytest.fixture(scope="module")
def solved():
    """400 feasible programs with their answers, and the number of candidates."""
    oracle, pairs, index = LPOracle(), [], 0
    while len(pairs) < 400:
        program = draw_program(7, 0, index, PAPER)
        answer = oracle.solve(program)
        if answer.status is LPStatus.OPTIMAL:
            pairs.append((program, answer.y))
        index += 1
    return pairs, index


def test_program_has_the_papers_data():
    programs = [draw_program(0, 0, i, PAPER) for i in range(300)]
    for p in programs:
        assert (p.n_constraints, p.n_variables, len(p.coefficients)) == (10, 50, 100)
        assert len(set(zip(p.rows.tolist(), p.columns.tolist(), strict=True))) == 100
        assert np.all(p.lower <= p.upper)
        assert np.abs(p.c).max() <= 0.01
        assert np.abs(p.b).max() <= 1
    # Means of 3,000 to 30,000 draws: four standard errors.
    assert np.mean([p.is_equality for p in programs]) == pytest.approx(0.3, abs=0.034)
    assert np.std([p.coefficients for p in programs]) == pytest.approx(1.0, abs=0.02)
    assert np.std([p.c for p in programs]) == pytest.approx(0.01 / 3**0.5, rel=0.02)
    both = np.concatenate([[p.lower, p.upper] for p in programs], axis=1)
    assert np.std(both) == pytest.approx(10.0, rel=0.02)


def test_feasible_share_and_trivial_predictors_are_the_papers(solved):
    pairs, n_candidates = solved
    # 400 of about 755 candidates: the standard error of the share is 0.018.
    assert 400 / n_candidates == pytest.approx(0.53, abs=0.06)
    norms = np.array([np.linalg.norm(y) for _, y in pairs])
    assert norms.mean() == pytest.approx(64, abs=2)
    assert norms.std() == pytest.approx(7, abs=1)
    at_bound = [np.isclose(y, p.lower) | np.isclose(y, p.upper) for p, y in pairs]
    assert np.mean(at_bound) == pytest.approx(0.87, abs=0.01)
    assert np.mean(norms / (norms + 1)) == pytest.approx(0.984, abs=0.001)
    corner = [np.linalg.norm(np.where(p.c > 0, p.lower, p.upper) - y) for p, y in pairs]
    # Standard deviation 0.177 over programs: four standard errors of both samples' means.
    assert np.mean(corner / (norms + 1)) == pytest.approx(0.596, abs=0.05)


def test_program_depends_on_seed_stream_and_index_alone():
    first = draw_program(3, 1, 5, PAPER)
    draw_program(3, 1, 4, PAPER)
    again = draw_program(3, 1, 5, PAPER)
    assert np.array_equal(first.c, again.c)
    assert np.array_equal(first.coefficients, again.coefficients)
    for other in ((4, 1, 5), (3, 2, 5), (3, 1, 6)):
        assert not np.any(first.c == draw_program(*other, PAPER).c)


def test_each_program_draws_one_of_the_sizes():
    sizes = [(3, 6, 8), (2, 5, 10)]
    drawn = {
        (p.n_constraints, p.n_variables, len(p.coefficients))
        for p in (draw_program(0, 0, i, sizes) for i in range(50))
    }
    assert drawn == set(sizes)


@pytest.mark.parametrize("mode", MODES)
def test_perturbation_has_its_norm_and_changes_one_feature(mode):
    program = draw_program(0, 0, 0, PAPER)
    delta = draw_perturbation(program, mode, 1e-4, 0, 0, 0)
    assert np.linalg.norm(delta) == pytest.approx(1e-4, rel=1e-12)
    assert np.array_equal(delta, draw_perturbation(program, mode, 1e-4, 0, 0, 0))
    moved = perturbed(program, mode, delta)
    changed = [
        name
        for name in ("c", "coefficients", "b", "lower", "upper")
        if not np.array_equal(getattr(program, name), getattr(moved, name))
    ]
    expected = {"A": "coefficients", "b": "b", "c": "c", "l": "lower", "u": "upper"}
    assert changed == [expected[mode]]
    assert np.array_equal(program.rows, moved.rows)


def test_perturbation_that_is_none_is_refused():
    program = draw_program(0, 0, 0, PAPER)
    for norm in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="`norm` must be positive, got"):
            draw_perturbation(program, "b", norm, 0, 0, 0)
    with pytest.raises(ValueError, match="`mode` must be one of A, b, c, l, u, got 'x'"):
        draw_perturbation(program, "x", 1.0, 0, 0, 0)
    with pytest.raises(ValueError, match="`mode` must be one of A, b, c, l, u, got 'x'"):
        perturbed(program, "x", np.zeros(50))
    with pytest.raises(ValueError, match=r"'c' must have shape \(50,\), got \(10,\)"):
        perturbed(program, "c", np.zeros(10))
    with pytest.raises(DataError, match=r"`LinearProgram.b` must be finite, got nan at 0 of 10"):
        perturbed(program, "b", np.full(10, np.nan))


ROW_SPARSE = [(50, 250, 500)]


def test_row_sparse_programs_have_equal_rows_and_a_feasible_point():
    oracle = LPOracle()
    programs = [draw_program(0, 0, i, ROW_SPARSE, "row_sparse") for i in range(40)]
    for index, p in enumerate(programs):
        assert np.array_equal(np.bincount(p.rows, minlength=50), np.full(50, 10))
        assert len(set(zip(p.rows.tolist(), p.columns.tolist(), strict=True))) == 500
        # The point that made it, drawn again.
        inside = replay_row_sparse(index, p)
        assert p.violation(inside) < 1e-12  # rounding of sums of ten terms of size 10
        assert np.abs(p.b - p.activity(inside)).max() < 1e-12
        assert oracle.solve(p).status is LPStatus.OPTIMAL
    # Means of 2,000 draws, about 1,400 of which are inequalities: four standard errors.
    assert np.mean([p.is_equality for p in programs]) == pytest.approx(0.3, abs=0.041)
    assert np.std([p.coefficients for p in programs]) == pytest.approx(1.0, abs=0.02)
    assert np.std([p.c for p in programs]) == pytest.approx(0.01 / 3**0.5, rel=0.02)
    both = np.concatenate([[p.lower, p.upper] for p in programs], axis=1)
    assert np.std(both) == pytest.approx(10.0, rel=0.02)


def replay_row_sparse(index, p):
    """Draw what comes before the feasible point of a row-sparse program, then the point."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0, index)))
    rng.integers(1)
    rng.normal(size=(2, p.n_variables))
    for _ in range(p.n_constraints):
        rng.choice(p.n_variables, len(p.rows) // p.n_constraints, replace=False)
    rng.uniform(size=p.n_variables)
    rng.normal(size=len(p.rows))
    rng.random(p.n_constraints)
    return rng.uniform(p.lower, p.upper)


def test_row_sparse_programs_have_solutions_where_the_papers_have_none():
    oracle, size = LPOracle(), [(200, 1000, 2000)]
    assert oracle.solve(draw_program(0, 0, 0, size, "row_sparse")).status is LPStatus.OPTIMAL
    assert oracle.solve(draw_program(0, 0, 0, size)).status is LPStatus.INFEASIBLE


def test_mixed_programs_are_of_either_family():
    sizes = [(10, 50, 100)]
    programs = [draw_program(0, 0, i, sizes, "mixed") for i in range(100)]
    equal = [bool((np.bincount(p.rows, minlength=10) == 10).all()) for p in programs]
    # Equal rows by chance alone would be one program of the paper's in thousands.
    assert 30 < sum(equal) < 70
