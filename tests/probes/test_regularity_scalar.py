"""The regularity report of operators whose constants are known in closed form."""

import pytest
import torch

from lit_implicit import Anderson, Equilibrium
from lit_implicit.probes import RegularityProbe
from lit_implicit_scalar.construction import ScalarConstruction
from lit_implicit_scalar.naive import ScalarNaive
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.reciprocal import ScalarReciprocal
from lit_implicit_scalar.targets import TARGETS

ALL = list(TARGETS)


def measure(operator, name, closest=1e-2, n=200):
    objective = ScalarObjective()
    batch = make_batch(draw_points(TARGETS[name], "test", n, closest=closest), name)
    probe = RegularityProbe(objective.modes)
    probe.update(Equilibrium(operator, Anderson()), objective, batch)
    return probe.compute(), batch


# How the slope of F grows towards its singular set, as a power of the distance.
POWERS = {"log": -1.0, "sqrt": -0.5}


@pytest.mark.parametrize("name", ALL)
def test_the_naive_operator_is_as_unbounded_as_its_target(name):
    report, _ = measure(ScalarNaive(name, eta=0.5), name)
    assert report.shell_exponent == pytest.approx(POWERS.get(name, -2.0), rel=1e-3)
    assert report.bounded is False
    # Of the secants over a thousandth of the distance, which the pairs are.
    assert torch.allclose(report.shell_slope, 0.5 * report.shell_target_slope, rtol=1e-5)
    assert torch.allclose(report.factor, report.factor.new_tensor(0.5), rtol=1e-9)
    assert report.growth_exponent == 0


@pytest.mark.parametrize("step", ["target", "general"])
@pytest.mark.parametrize("name", ALL)
def test_the_construction_is_regular_within_its_stated_bounds(name, step):
    operator = ScalarConstruction(name, step=step)
    report, batch = measure(operator, name)
    a, b = operator.bounds
    assert report.n_left_out == 0
    assert torch.allclose(report.factor, 1 - operator.step(batch.x), rtol=1e-9)
    assert report.contracting == 1
    assert (report.slope <= (a + b * report.size) * (1 + 1e-9)).all()
    assert report.envelope[0] <= a * (1 + 1e-9)
    assert report.envelope[1] <= b * (1 + 1e-9)
    assert report.growth_exponent == pytest.approx(1.0, abs=1e-3)
    assert report.shell_exponent > -0.1
    assert report.bounded is True
    assert report.holds == 1


@pytest.mark.parametrize(
    ("name", "two_sided"), [("reciprocal_positive", False), ("reciprocal", True)]
)
def test_the_reciprocal_has_the_factor_slope_and_bound_of_its_formula(name, two_sided):
    operator = ScalarReciprocal(eta=0.5, two_sided=two_sided)
    report, batch = measure(operator, name)
    x = batch.x
    step = 0.5 * x.square() if two_sided else 0.5 * x
    assert torch.allclose(report.factor, 1 - step, rtol=1e-9)
    assert torch.allclose(report.spectral_radius, 1 - step, rtol=1e-9)
    assert torch.allclose(report.size[:, report.scales.index(1.0)], 1 / x.abs(), rtol=1e-6)
    a, b = operator.bounds
    assert (report.slope <= (a + b * report.size) * (1 + 1e-9)).all()
    if not two_sided:  # |dG/dx| = eta |z|, exactly
        assert torch.allclose(report.slope, b * report.size, rtol=1e-6)
        assert report.envelope == pytest.approx((0.0, 0.5), rel=1e-6)
    assert report.bounded is True
    assert report.shell_exponent == pytest.approx(0.0, abs=0.01)
    # The theorem is tight here: the slope of 1/x, over a step of a thousandth of x.
    slope = 1 / x.square() / (1 - 1e-3)
    assert torch.allclose(report.measured[:, 0], slope, rtol=1e-4)
    assert torch.allclose(report.tightness, torch.ones_like(x), rtol=5e-3)
    assert report.holds == 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("distance", [0.3, 1e-2, 1e-5])
def test_shells_hold_all_points_of_the_domain_at_their_distance(name, distance):
    target = TARGETS[name]
    batch = make_batch(draw_points(target, "test", 10), name)
    shell = ScalarObjective().shell(batch, distance)
    expected = {"reciprocal": 2, "tan": 2, "figure_one": 4}
    assert len(shell.x) == expected.get(name, 1)
    assert torch.allclose(target.distance(shell.x), shell.x.new_tensor(distance), rtol=1e-9)
    assert shell.target.equal(target.function(shell.x))
    assert shell.x.dtype == torch.float64
    for x in shell.x.tolist():
        assert any(low < x <= high for low, high in target.intervals)


def test_shells_are_measured_in_inference_mode():
    objective = ScalarObjective()
    with torch.inference_mode():
        probe = RegularityProbe(objective.modes)
        batch = make_batch(torch.rand(5, dtype=torch.float64) + 0.1, "reciprocal_positive")
        probe.update(Equilibrium(ScalarNaive()), objective, batch)
    assert probe.compute().shell_exponent == pytest.approx(-2.0, rel=1e-3)


def test_a_distance_that_no_point_of_the_domain_has_is_no_shell():
    objective, batch = ScalarObjective(), make_batch(torch.tensor([0.5]), "reciprocal_positive")
    assert objective.shell(batch, 1.5) is None
    half = objective.shell(make_batch(torch.tensor([0.5]), "figure_one"), 0.8)
    assert sorted(half.x.tolist()) == [-0.8, 1.8]  # 0.8 and 0.2 are closer to the other pole
