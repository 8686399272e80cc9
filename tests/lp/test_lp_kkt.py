"""Optimality conditions against numpy's, on optimal pairs and off them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lp.lp_programs import features, optimal_pair, program, solvable, vector

from lit_implicit_lp.kkt import kkt, primal_residual

INF = np.inf


def reference(p, y, dual):
    """The three residuals of one program, by dense numpy; all bounds near or infinite."""
    a = p.dense()
    excess = a @ y - p.b
    excess = np.where(p.is_equality, np.abs(excess), np.maximum(excess, 0))
    outside = np.maximum(p.lower - y, 0) + np.maximum(y - p.upper, 0)
    primal = np.sqrt(excess @ excess + outside @ outside) / (1 + np.linalg.norm(p.b))
    r = p.c + a.T @ dual
    left = np.where((r > 0) & np.isinf(p.lower) | (r < 0) & np.isinf(p.upper), r, 0)
    wrong = np.where(p.is_equality, 0, np.minimum(dual, 0))
    dual_residual = np.sqrt(left @ left + wrong @ wrong) / (1 + np.linalg.norm(p.c))
    value, dual_value = p.c @ y, -p.b @ dual
    for j, rj in enumerate(r):
        bound = p.lower[j] if rj > 0 else p.upper[j]
        dual_value += rj * bound if np.isfinite(bound) else 0
    gap = abs(value - dual_value) / (1 + abs(value) + abs(dual_value))
    return primal, dual_residual, gap


MIXED = [
    program([-1, -2], [[1, 1]], [1], [False], 0, INF),
    program([1, -1, 0.5], [[1, 1, 1], [1, -1, 0]], [2, 0.5], [True, False], [-INF, 0, -1], 3),
    program([1, -1], np.zeros((0, 2)), [], [], -2, 3),  # no constraint at all
]


def test_optimal_pairs_of_the_oracle_satisfy_the_conditions():
    programs = [*solvable(8), MIXED[0], MIXED[2]]
    x = features(*programs)
    found = kkt(x, x.matrix(), *optimal_pair(*programs))
    # HiGHS solves to 1e-10, absolute; its sums have a few dozen terms.
    assert found.worst.shape == (10,)
    assert found.worst.max() < 1e-8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_residuals_of_any_pair_match_numpy(generator, dtype):
    programs = [*solvable(4), *MIXED]
    x = features(*programs, dtype=dtype)
    y = 3 * torch.randn(len(x.c), dtype=dtype, generator=generator)
    dual = torch.randn(len(x.b), dtype=dtype, generator=generator)
    found = kkt(x, x.matrix(), y, dual)
    assert found.primal.dtype is dtype
    for i, p in enumerate(programs):
        mine = y[x.batch == i].double().numpy(), dual[x.constraint_batch == i].double().numpy()
        got = [float(part[i]) for part in (found.primal, found.dual, found.gap)]
        np.testing.assert_allclose(
            got, reference(p, *mine), rtol=1e-12 if y.dtype.itemsize == 8 else 2e-5
        )
        assert float(found.worst[i]) == max(got)


def test_the_primal_residual_needs_no_dual_and_takes_the_wider_precision(generator):
    programs = [*solvable(4), *MIXED]
    x = features(*programs, dtype=torch.float32)
    y = 3 * torch.randn(len(x.c), dtype=torch.float64, generator=generator)
    found = primal_residual(x, x.matrix(), y)
    assert found.dtype is torch.float64
    for i, p in enumerate(programs):
        expected = reference(p, y[x.batch == i].numpy(), np.zeros(p.n_constraints))[0]
        # The programs are rounded, and nothing else.
        assert float(found[i]) == pytest.approx(expected, rel=1e-6)
    assert not torch.equal(found.float().double(), found)


def test_a_pair_is_judged_the_same_alone():
    programs = [*solvable(3), *MIXED]
    x = features(*programs)
    y, dual = torch.linspace(-1, 2, len(x.c)).double(), torch.linspace(-1, 1, len(x.b)).double()
    whole = kkt(x, x.matrix(), y, dual).worst
    for i, p in enumerate(programs):
        one = features(p)
        alone = kkt(one, one.matrix(), y[x.batch == i], dual[x.constraint_batch == i]).worst
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-14, atol=0)


def test_each_kind_of_error_shows_in_its_own_residual():
    # min -x - 2y, x + y <= 1, 0 <= x, y: the solution is (0, 1) with dual 2.
    x = features(MIXED[0])
    matrix, y, dual = x.matrix(), vector(0, 1), vector(2)

    def parts(y, dual):
        found = kkt(x, matrix, y, dual)
        return [float(part) for part in (found.primal, found.dual, found.gap)]

    size_c = 1 + 5**0.5
    assert parts(y, dual) == [0, 0, 0]
    assert parts(y + vector(0, 1), dual) == pytest.approx([1 / 2, 0, 2 / 7])  # p = -4, d = -2
    assert parts(y - vector(0.5, 0), dual) == pytest.approx([0.25, 0, 0.5 / 4.5])
    # Reduced costs of -0.5 and -1.5, where no upper bound takes them up.
    assert parts(y, dual / 4) == pytest.approx([0, 2.5**0.5 / size_c, 1.5 / 3.5])
    # A dual of the wrong sign is no dual; reduced costs of -2 and -3 beside it.
    assert parts(y, vector(-1))[1] == pytest.approx((4 + 9 + 1) ** 0.5 / size_c)


def test_a_huge_bound_is_no_bound_unless_the_solution_is_there():
    # min x, x >= 1 by a row; the upper bound of 1e12 stands for none.
    p = program([1], [[-1]], [-1], [False], -1, 1e12)
    x = features(p)
    y = vector(1)
    rounding = vector(1 + 1e-9)  # a reduced cost of -1e-9
    found = kkt(x, x.matrix(), y, rounding)
    assert float(found.dual) == pytest.approx(0.5e-9)
    assert float(found.gap) < 1e-8
    # min -x: here the solution is the bound itself, and the pair is optimal.
    far = replace(x, c=-x.c)
    found = kkt(far, far.matrix(), vector(1e12), vector(0))
    assert float(found.worst) == 0


def test_one_program_without_numbers_leaves_the_others_alone():
    x = features(MIXED[0], MIXED[2])
    y, dual = optimal_pair(MIXED[0], MIXED[2])
    found = kkt(x, x.matrix(), torch.where(x.batch == 0, torch.nan, y), dual).worst
    assert found[0].isnan()
    assert found[1] == 0
