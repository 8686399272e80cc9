"""Derivatives in the data of linear programs, against finite differences in float64."""

from dataclasses import replace

import pytest
import torch

from lit_implicit import Equilibrium, Picard
from lit_implicit.layout import Ragged
from lit_implicit.probes import LipschitzCurveProbe, jacobian_slopes, worst_pair_slopes
from lit_implicit_lp.generator import FEATURES, MODES
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.operator import LPGraphOperator

NAMES = ("c", "lower", "upper", "b", "coefficients")
T = 4


@pytest.fixture(scope="module")
def layer():
    torch.manual_seed(0)
    return Equilibrium(LPGraphOperator(4).double())


def random_directions(x, scale):
    generator = torch.Generator().manual_seed(1)
    return [
        scale * torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator)
        for leaf in LPObjective().leaves(x)
    ]


def test_leaves_come_back_in_their_places(lp_batch):
    objective = LPObjective()
    x = objective.inputs(lp_batch)
    leaves = objective.leaves(x)
    moved = objective.with_leaves(x, [leaf + i for i, leaf in enumerate(leaves, 1)])
    for i, name in enumerate(NAMES, 1):
        assert torch.equal(getattr(moved, name), getattr(x, name) + i)
    assert torch.equal(x.c, lp_batch.c)


def test_infinite_bounds_are_no_leaves(lp_batch):
    objective = LPObjective()
    x = objective.inputs(lp_batch)
    lower, upper = x.lower.clone(), x.upper.clone()
    lower[[0, 7]], upper[3] = -torch.inf, torch.inf
    x = replace(x, lower=lower, upper=upper)
    leaves = objective.leaves(x)
    assert [len(leaf) for leaf in leaves[1:3]] == [len(lower) - 2, len(upper) - 1]
    moved = objective.with_leaves(x, [leaf + 1 for leaf in leaves])
    assert torch.equal(moved.lower, lower + 1)  # an infinity plus one is itself
    assert torch.equal(moved.upper, upper + 1)
    sizes = [layout.norm(torch.ones_like(leaf)).square() for layout, leaf in
             zip(objective.leaf_layouts(x), leaves, strict=True)]  # fmt: skip
    finite = Ragged(x.batch, x.n).dot(lower.isfinite().double(), torch.ones_like(lower))
    assert torch.allclose(sizes[1], finite)


@pytest.mark.parametrize("mode", MODES)
def test_size_over_the_leaves_is_that_of_the_perturbation(lp_batch, mode):
    objective = LPObjective()
    p, x = objective.perturb(lp_batch, mode), objective.inputs(lp_batch)
    squares = 0.0
    for layout, a, b in zip(
        objective.leaf_layouts(x), objective.leaves(x),
        objective.leaves(objective.inputs(p.batch)), strict=True,
    ):  # fmt: skip
        squares = squares + layout.norm(b - a).square()
    assert torch.allclose(squares.sqrt(), p.size, rtol=1e-9)


@pytest.mark.parametrize("leaf", [None, *range(5)])
def test_forward_derivatives_match_finite_differences(lp_batch, layer, leaf):
    objective = LPObjective()
    x = objective.inputs(lp_batch)
    # In the units of the features, so that no leaf drowns in the others.
    units = (0.01, 10.0, 10.0, 1.0, 1.0)
    d = [u * part for u, part in zip(units, random_directions(x, 1.0), strict=True)]
    if leaf is not None:
        d = [part * (i == leaf) for i, part in enumerate(d)]
    slopes = jacobian_slopes(layer, objective, lp_batch, T, d)
    h = 1e-7  # rarely across a kink of a ReLU
    sides = []
    for sign in (1, -1):
        leaves = [a + sign * h * b for a, b in zip(objective.leaves(x), d, strict=True)]
        with torch.no_grad():
            g, z = layer.bind(objective.with_leaves(x, leaves))
            ys = []
            for _ in range(T + 1):
                ys.append(layer.operator.decode(z, g.c))
                z = g(z)
        sides.append(ys)
    for t in range(T + 1):
        expected = objective.distance(sides[0][t], sides[1][t], lp_batch) / (2 * h)
        assert torch.allclose(slopes[t], expected, rtol=1e-6, atol=1e-8)


def test_refined_and_worst_slopes_are_power_iterations_of_the_dense_jacobian(lp_data, layer):
    """Of one program: the Jacobian in all its data, by autograd."""
    objective = LPObjective()
    batch = lp_data._graphs["test"].batch([0])
    x = objective.inputs(batch)

    def iterate(*leaves):
        g, z = layer.bind(objective.with_leaves(x, leaves))
        for _ in range(T):
            z = g(z)
        return layer.operator.decode(z, g.c)

    parts = torch.autograd.functional.jacobian(iterate, objective.leaves(x))
    dense = torch.cat(parts, dim=1)
    d = [1e-7 * part for part in random_directions(x, 1.0)]
    v = torch.cat(d)
    values = [(dense @ v).norm() / v.norm()]
    for _ in range(12):
        v = dense.T @ (dense @ v)
        values.append((dense @ v).norm() / v.norm())
    for n_steps in (0, 1, 12):
        slopes = jacobian_slopes(layer, objective, batch, T, d, refine=n_steps)
        assert torch.allclose(slopes[T, 0] / torch.cat(d).norm(), values[n_steps], rtol=1e-10)
        # So small a pair, held in place, crosses no kink, and keeps some nine digits.
        worst = worst_pair_slopes(
            layer, objective, batch, (T,), n_steps, directions=[d], radius=0.0
        )
        assert torch.allclose(worst[0, 0], values[n_steps], rtol=1e-6)
    assert values[12] > 1.2 * values[0]
    assert values[12] <= torch.linalg.matrix_norm(dense, 2)


def test_probe_measures_programs_in_all_ways_and_single_precision(lp_data):
    from lit_implicit_lp.graph import LPGraphs

    batch = LPGraphs(lp_data._cache("test").load(10), torch.float32).batch(range(10))
    torch.manual_seed(0)
    layer = Equilibrium(LPGraphOperator(4))
    probe = LipschitzCurveProbe(
        T, LPObjective().modes, Picard(0.5), estimators=("pairs", "jacobian", "worst_pair"),
        worst_pair_at=(2,), worst_pair_steps=4,
    )  # fmt: skip
    with torch.inference_mode():
        probe.update(layer, LPObjective(), batch)
    curve = probe.compute()
    for mode in FEATURES:
        # Pairs 1e-4 apart cross few kinks.
        assert torch.allclose(curve.jacobian[mode], curve.slopes[mode], rtol=1e-2, atol=1e-6)
    steepest = torch.stack([curve.slopes[mode][2] for mode in MODES]).max()
    assert curve.worst_pair[2] > steepest
    assert curve.worst_pair_aggregate == "mean"
