"""Iterates and Lipschitz curves of the operators without parameters, against closed forms."""

import pytest
import torch

from lit_implicit import Anderson, Equilibrium
from lit_implicit.probes import LipschitzCurveProbe, iterates
from lit_implicit_scalar.construction import ScalarConstruction
from lit_implicit_scalar.general_step import general_step
from lit_implicit_scalar.mlp import ScalarMLP
from lit_implicit_scalar.naive import ScalarNaive
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.reciprocal import ScalarReciprocal
from lit_implicit_scalar.targets import TARGETS

ALL = list(TARGETS)


def grid(name, n=1000, closest=1e-6):
    return draw_points(TARGETS[name], "test", n, spread="grid", closest=closest)


def gain(step, t):
    """1 - (1 - step)^t without the cancellation that small steps would bring."""
    return -torch.expm1(t * torch.log1p(-step))


def run(operator, x, n_iter):
    with torch.no_grad():
        return [item.y for item in iterates(Equilibrium(operator), x, n_iter)]


def curve(operator, name, n_iter=100, x=None):
    objective = ScalarObjective()
    estimators = ("pairs", "jacobian")
    probe = LipschitzCurveProbe(n_iter, objective.modes, estimators=estimators)
    probe.update(Equilibrium(operator), objective, make_batch(grid(name) if x is None else x, name))
    return probe.compute()


@pytest.mark.parametrize("eta", [0.1, 0.5])
def test_reciprocal_has_the_lipschitz_curve_of_the_closed_form(eta):
    x = grid("reciprocal_positive")
    assert x.min() == 1e-6
    result = curve(ScalarReciprocal(eta), "reciprocal_positive")
    t = torch.arange(101).double()
    exact = eta**2 * t * (t - 1) / 2
    # The largest slope is at x -> 0; at 1e-6 it is smaller by about eta t x, 5e-5 at most.
    assert torch.allclose(result.jacobian["x"][2:], exact[2:], rtol=1e-4)
    assert not result.jacobian["x"][:2].any()  # y_1 = eta, whatever x
    assert result.target_slopes["x"] == pytest.approx(1e12, rel=2e-3)  # steps of 0.1 %


@pytest.mark.parametrize("two_sided", [False, True])
def test_reciprocal_has_the_iterates_of_the_closed_form(two_sided):
    x = grid("reciprocal" if two_sided else "reciprocal_positive")
    step = 0.5 * x.square() if two_sided else 0.5 * x
    for t, y in enumerate(run(ScalarReciprocal(0.5, two_sided), x, 100)):
        assert (y - gain(step, t) / x).abs().max() < 1e-10


def test_mean_error_of_reciprocal_is_the_papers_example():
    x = draw_points(TARGETS["reciprocal_positive"], "test", 20_000, closest=1e-6)
    batch, objective = make_batch(x, "reciprocal_positive"), ScalarObjective()
    errors = [objective.error(y, batch).mean() for y in run(ScalarReciprocal(0.5), x, 100)]
    # The integral of (1 - x / 2)^t over (0, 1]; drawn points leave some 1e-3.
    for t in (1, 5, 10, 25, 100):
        assert errors[t] == pytest.approx(2 / (t + 1) * (1 - 0.5 ** (t + 1)), abs=5e-3)


@pytest.mark.parametrize("step", ["target", "general"])
@pytest.mark.parametrize("name", ALL)
def test_construction_has_the_iterates_of_the_closed_form(name, step):
    x, operator = grid(name), ScalarConstruction(name, step)
    f, epsilon = TARGETS[name].function(x), operator.step(x)
    for t, y in enumerate(run(operator, x, 100)):
        assert (y - gain(epsilon, t) * f).abs().max() < 1e-10


@pytest.mark.parametrize("name", ALL)
def test_construction_is_within_a_tenth_on_three_quarters_of_the_domain_at_100(name):
    x = draw_points(TARGETS[name], "test", 10_000, closest=1e-6)
    error = ScalarObjective().error(run(ScalarConstruction(name), x, 100)[-1], make_batch(x, name))
    assert (error < 0.1).double().mean() >= 0.75


@pytest.mark.parametrize("name", ALL)
def test_lipschitz_curve_of_the_construction_is_that_of_its_closed_form(name):
    """By reverse mode through the formula: (1 - (1 - epsilon)^t) F."""
    x, operator = grid(name, 200, 1e-3), ScalarConstruction(name)
    result = curve(operator, name, 30, x)
    for t in (1, 2, 10, 30):
        point = x.clone().requires_grad_()
        epsilon = operator.step(point)
        y = gain(epsilon.clamp(max=1 - 1e-12), t) * TARGETS[name].function(point)
        (slope,) = torch.autograd.grad(y.sum(), point)
        assert result.jacobian["x"][t] == pytest.approx(slope.abs().max().item(), rel=1e-8)
    assert result.jacobian["x"][1] <= operator.bounds[0] * (1 + 1e-12)  # y_1 = G(0, x)
    assert result.target_slopes["x"] > result.jacobian["x"][30]


def test_pairs_stay_below_the_derivative_and_close_to_it():
    x = grid("reciprocal_positive", 200, 1e-3)
    result = curve(ScalarReciprocal(0.5), "reciprocal_positive", 50, x)
    exact, pairs = result.jacobian["x"], result.slopes["x"]
    # Steps are a thousandth of the distance to the pole, towards which y_t is steeper.
    assert torch.allclose(pairs[2:], exact[2:], rtol=2e-3)


def test_naive_is_as_steep_as_its_target_from_the_first_iterate_on():
    x = grid("reciprocal_positive", 200, 1e-3)
    result = curve(ScalarNaive(eta=0.5), "reciprocal_positive", 20, x)
    t = torch.arange(21).double()
    assert torch.allclose(result.jacobian["x"], (1 - 0.5**t) * 1e6)


@pytest.mark.parametrize("name", ALL)
def test_general_step_solves_its_equation_and_has_the_derivative_of_phi(name):
    target = TARGETS[name]
    x = grid(name, 300, 1e-2).requires_grad_()
    phi = general_step(target, x).sqrt()
    with torch.no_grad():
        # A brute force of M and Lambda over the ball, which holds no singular point.
        ball = x[:, None] + phi[:, None] * torch.linspace(-1, 1, 2001).double()
        low, high = zip(*target.intervals, strict=True)
        home = ((x[:, None] > x.new_tensor(low)) & (x[:, None] <= x.new_tensor(high))).int()
        home = home.argmax(-1)
        ball = ball.maximum(x.new_tensor(low)[home][:, None])
        ball = ball.minimum(x.new_tensor(high)[home][:, None])
        size, steep = target.function(ball).abs().amax(1), target.slope(ball).abs().amax(1)
        load = phi * (1 + size + steep)
        cut = (phi - target.distance(x)).abs() < 1e-12
        assert torch.allclose(load[~cut], torch.ones_like(load[~cut]), rtol=1e-9)
        # Only -x, of all branches, is tame up to the singular point.
        assert cut.any() == (name == "figure_one")
        assert not (cut & (x > 0)).any()
    (slope,) = torch.autograd.grad(phi.sum(), x)
    assert slope.abs().max() <= 1 + 1e-6  # phi is 1-Lipschitz
    with torch.no_grad():
        h = 1e-6
        quotient = (general_step(target, x + h).sqrt() - general_step(target, x - h).sqrt()) / 2 / h
        inner = target.distance(x) > 0.011
        inner &= (x - x.new_tensor([low[0]])).abs() > 2 * h
        inner &= (x - x.new_tensor([high[-1]])).abs() > 2 * h
        # Where M, Lambda or the cut ball switch sides, phi has a kink: a few points.
        wrong = ((slope - quotient).abs() > 1e-4 * (1 + slope.abs())) & inner
        assert wrong.sum() <= 6


@pytest.mark.parametrize(
    "operator",
    [ScalarNaive("log"), ScalarReciprocal(), ScalarConstruction("log"), ScalarMLP(4, 8).double()],
)
def test_one_point_is_solved_alone_as_in_any_batch(operator):
    x = torch.tensor([0.9, 0.3, 0.6]).double()
    layer = Equilibrium(operator, Anderson(rtol=1e-8, max_iter=60))
    with torch.no_grad():
        together, solution = layer(x)
        for i in range(3):
            alone, single = layer(x[i : i + 1])
            assert torch.allclose(together[i : i + 1], alone, rtol=1e-10)
            assert single.n_iter.item() == solution.n_iter[i].item()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScalarNaive(eta=0.0), r"`ScalarNaive.eta` must lie in \(0, 1\], got 0.0"),
        (lambda: ScalarReciprocal(1.5), r"`ScalarReciprocal.eta` must lie in \(0, 1\], got 1.5"),
        (lambda: ScalarConstruction(c=2.0), r"`ScalarConstruction.c` must lie in \(0, 1\]"),
        (lambda: ScalarConstruction(step="none"), "must be 'target' or 'general', got 'none'"),
        (lambda: ScalarMLP(dim=0), "`ScalarMLP.dim` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
