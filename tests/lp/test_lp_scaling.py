"""Ruiz scaling against dense numpy, its derivatives, and the way back."""

import numpy as np
import pytest
import torch
from lp.lp_programs import features, optimal_pair, program, solvable
from torch.autograd import forward_ad

from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.scaling import Scaling
from lit_implicit_lp.units import Units

INF = np.inf


def dense_ruiz(a, rounds):
    """Factors of rows and columns, as the paper has it; empty ones keep 1."""
    rows, columns = np.ones(a.shape[0]), np.ones(a.shape[1])
    for _ in range(rounds):
        scaled = np.abs(rows[:, None] * a * columns)
        largest = [scaled.max(axis, initial=0.0) for axis in (1, 0)]
        for factors, size in zip((rows, columns), largest, strict=True):
            factors[size > 0] /= np.sqrt(size[size > 0])
    return rows, columns


BADLY_SCALED = [
    program(
        [1, 2, 3], [[1e4, 0, 2], [0, 1e-5, 0], [0, 0, 0]], [1, 2, 3], [False] * 3, [-INF, 0, 1], INF
    ),
    program([1, -1], np.zeros((0, 2)), [], [], -2, 3),
    *solvable(2),
]


@pytest.mark.parametrize("rounds", [0, 1, 10])
def test_factors_and_data_match_dense_numpy(rounds):
    x = features(*BADLY_SCALED)
    scaling = Scaling.of(x, rounds)
    scaled = scaling.features
    for i, p in enumerate(BADLY_SCALED):
        rows, columns = dense_ruiz(p.dense(), rounds)
        mine, own = x.batch == i, x.constraint_batch == i
        edges = mine[x.edge_index[1]]
        for got, expected in (
            (scaling.rows[own], rows),
            (scaling.columns[mine], columns),
            (scaled.c[mine], columns * p.c),
            (scaled.b[own], rows * p.b),
            (scaled.lower[mine], p.lower / columns),
            (scaled.upper[mine], p.upper / columns),
            (scaled.coefficients[edges], rows[p.rows] * p.coefficients * columns[p.columns]),
        ):
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13)


def test_largest_entries_tend_to_one_and_empty_rows_stay():
    x = features(BADLY_SCALED[0])
    scaling = Scaling.of(x)
    largest = scaling.features.coefficients.abs()
    assert largest.tolist() == pytest.approx([1, 1, 1], rel=0.01)
    assert scaling.rows[2] == 1


def test_pock_chambolle_gives_a_norm_of_at_most_one():
    p = solvable(1)[0]
    scaled = Scaling.of(features(p), pock_chambolle=True).features
    a = np.zeros((p.n_constraints, p.n_variables))
    a[p.rows, p.columns] = scaled.coefficients
    assert 0.3 < np.linalg.norm(a, 2) <= 1 + 1e-12
    units = Units.of(features(p), 10, torch.float64)
    assert torch.equal(units.features.coefficients, scaled.coefficients)
    assert torch.equal(Units.of(features(p), 0, torch.float64).features.coefficients,
                       features(p).coefficients)  # fmt: skip


def test_optimal_pairs_of_scaled_programs_lead_back_to_optimal_pairs():
    x = features(*solvable(3))
    scaling = Scaling.of(x)
    scaled = scaling.features
    y, dual = optimal_pair(*solvable(3))
    found = kkt(scaled, scaled.matrix(), y / scaling.columns, dual / scaling.rows)
    assert found.worst.max() < 1e-8  # the oracle's own tolerance, in other units


def test_factors_are_differentiated_in_both_modes(generator):
    x = features(*BADLY_SCALED[2:])
    direction = torch.randn(len(x.coefficients), dtype=torch.float64, generator=generator)

    def scaled(coefficients):
        scaling = Scaling.of(x.with_leaves((*x.leaves()[:-1], coefficients)), 3)
        parts = (scaling.features.lower, scaling.features.coefficients, scaling.rows)
        return torch.cat(parts)

    step = 1e-7 * x.coefficients.abs().min()
    ends = [scaled(x.coefficients + sign * step * direction) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    with forward_ad.dual_level():
        out = scaled(forward_ad.make_dual(x.coefficients, direction))
        forward = forward_ad.unpack_dual(out).tangent
    torch.testing.assert_close(forward, expected, rtol=1e-4, atol=1e-4)  # of the differences
    leaf = x.coefficients.clone().requires_grad_()
    weights = torch.randn(len(forward), dtype=torch.float64, generator=generator)
    (gradient,) = torch.autograd.grad(scaled(leaf) @ weights, leaf)
    torch.testing.assert_close(gradient @ direction, forward @ weights, rtol=1e-10, atol=0)


def test_infinite_bounds_and_zeros_give_finite_gradients():
    x = features(BADLY_SCALED[0])
    leaf = torch.cat([x.coefficients[:2], torch.zeros(1)]).requires_grad_()
    scaled = Scaling.of(x.with_leaves((*x.leaves()[:-1], leaf))).features
    (gradient,) = torch.autograd.grad(scaled.c.sum() + scaled.lower.nan_to_num(0, 0, 0).sum(), leaf)
    assert gradient.isfinite().all()


def test_rounds_below_zero_are_refused():
    with pytest.raises(ValueError, match="`rounds` must be at least 0, got -1"):
        Scaling.of(features(BADLY_SCALED[1]), -1)
