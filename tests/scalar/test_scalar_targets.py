"""Each target against its derivative, and its constants a, b against measured slopes."""

import math

import pytest
import torch

from lit_implicit_scalar.construction import ScalarConstruction
from lit_implicit_scalar.points import draw_points
from lit_implicit_scalar.reciprocal import ScalarReciprocal
from lit_implicit_scalar.targets import TARGETS, find_target

ALL = list(TARGETS)


def grid(name, n=4001, closest=1e-6):
    return draw_points(TARGETS[name], "test", n, spread="grid", closest=closest)


VALUES = {
    "reciprocal": (-0.25, -4.0),
    "reciprocal_positive": (0.25, 4.0),
    "log": (0.5, -math.log(2)),
    "sqrt": (0.25, 0.5),
    "tan": (math.pi / 4, 1.0),
    "gamma": (4.5, 11.631728396567448),
    "figure_one": (0.25, 4 - 4 / 3),
}


@pytest.mark.parametrize("name", ALL)
def test_target_has_its_value_and_its_slope(name):
    target, (x, y) = TARGETS[name], VALUES[name]
    assert target.function(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(
        y, rel=1e-13
    )
    points = grid(name, 400, 1e-3).requires_grad_()
    (slope,) = torch.autograd.grad(target.function(points).sum(), points)
    assert torch.allclose(slope, target.slope(points), rtol=1e-11)
    assert slope.abs().max() > 10  # steep near its singular set


def test_figure_one_has_three_branches():
    x = torch.tensor([-2.0, 0.5, 3.0]).double()
    assert torch.allclose(TARGETS["figure_one"].function(x), x.new_tensor([2.0, 0.0, 1 / 6]))


@pytest.mark.parametrize("name", ALL)
def test_step_lies_between_0_and_1_and_vanishes_at_singular_points(name):
    target, x = TARGETS[name], grid(name)
    shape = target.shape(x)
    assert shape.min() > 0
    assert shape.max() <= 1
    assert shape[target.distance(x) < 1e-5].max() < 1e-5


def slopes(operator, x, c, z):
    """Difference quotients of G(z, .) between neighbours and between points far apart."""
    g = operator(torch.full_like(x, z), c)
    p = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    p = torch.where(p == torch.arange(len(x)), (p + 1) % len(x), p)
    return torch.cat([g.diff().abs() / x.diff(), (g - g[p]).abs() / (x - x[p]).abs()])


def operators():
    for name in ALL:
        yield name, ScalarConstruction(name)
        yield name, ScalarConstruction(name, c=0.1)
        yield name, ScalarConstruction(name, "general")
    yield "reciprocal_positive", ScalarReciprocal(0.3)
    yield "reciprocal", ScalarReciprocal(0.3, two_sided=True)


@pytest.mark.parametrize(("name", "operator"), list(operators()))
def test_slope_in_x_is_at_most_a_plus_b_z(name, operator):
    x = grid(name, 10_001)
    c = operator.encode(x)
    a, b = operator.bounds
    sharpness = []
    for z in (0.0, 1.0, -1.0, 10.0, -10.0, 1e3, -1e3):
        largest = slopes(operator, x, c, z).max().item()
        # Rounding of values of size 1 + |z| over steps of the grid, 1e-4 at least.
        assert largest <= (a + b * abs(z)) * (1 + 1e-9) + 1e-10 * (1 + abs(z))
        sharpness.append(largest / (a + b * abs(z)) if a + b * abs(z) else 1.0)
    if not getattr(operator, "general", False):
        assert max(sharpness) > 0.99  # the constants are the least ones


@pytest.mark.parametrize("name", ALL)
def test_a_and_b_are_each_the_least_constant(name):
    """Not only their sum: b from the step alone, a from z = 0 alone."""
    target, x = TARGETS[name], grid(name, 40_001)
    operator = ScalarConstruction(name, c=1.0)
    a = slopes(operator, x, operator.encode(x), 0.0).max()
    b = target.shape(x).diff().abs() / x.diff()
    assert a == pytest.approx(target.a, rel=2e-3)
    assert b.max() == pytest.approx(target.b, rel=2e-3)


def test_unknown_target_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"`A.target` must be one of reciprocal, .* got 'exp'"):
        find_target("exp", "A.target")
