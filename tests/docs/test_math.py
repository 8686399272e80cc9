"""docs/math.md: its code runs, its files exist, and the formulas marked as tested hold."""

import itertools
import re
from itertools import islice, pairwise

import pytest
import torch
from fenced import ROOT, Document
from problems import Affine, Tanh, affine_solution, matrix, random

from lit_implicit import Dense, Equilibrium, Neumann, Picard
from lit_implicit.probes import jacobian_slopes
from lit_implicit_scalar.construction import ScalarConstruction
from lit_implicit_scalar.naive import ScalarNaive
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.reciprocal import ScalarReciprocal
from lit_implicit_scalar.targets import TARGETS

MATH = Document("math.md")
each_target = pytest.mark.parametrize("name", TARGETS)


def grid(name, n=200, closest=1e-2):
    return draw_points(TARGETS[name], "test", n, spread="grid", closest=closest)


def test_code_runs():
    slopes = MATH.run()["slopes"]
    assert slopes[100].item() == pytest.approx(1237.5, rel=1e-4)


def test_links_lead_somewhere():
    assert MATH.broken_links() == []


def test_files_that_are_named_exist():
    homes = [ROOT, ROOT / "lit_implicit", ROOT / "tasks" / "lit_implicit_scalar"]
    homes += [ROOT / "tests" / "solvers"]
    named = {*re.findall(r"[\w/]+\.py", MATH.text), *re.findall(r"tests/\w+\b(?!\.)", MATH.text)}
    assert len(named) > 20
    for path in named:
        assert any((home / path).exists() for home in homes), path


# Section 2


@each_target
@pytest.mark.parametrize("step", ["target", "general"])
def test_necessity_bound_holds_between_any_two_points(name, step):
    operator, x = ScalarConstruction(name, step), grid(name)
    (a, b), f, epsilon = operator.bounds, TARGETS[name].function(x), operator.step(x)
    # mu = 1 - epsilon at x', a + b |z*| at x.
    bound = (a + b * f.abs())[:, None] / epsilon * (x[:, None] - x).abs()
    assert ((f[:, None] - f).abs() <= bound * (1 + 1e-9)).all()


def test_necessity_bound_is_attained_by_the_reciprocal():
    x = grid("reciprocal_positive")
    a, b = ScalarReciprocal(0.3).bounds
    # mu = 1 - eta x
    bound = (a + b / x)[:, None] / (0.3 * x) * (x[:, None] - x).abs()
    assert torch.allclose((1 / x[:, None] - 1 / x).abs(), bound, rtol=1e-9)


def fixed_point(operator, x):
    with torch.no_grad():
        return Equilibrium(operator, Picard(rtol=1e-15, max_iter=2000))(x)[0]


def jacobians(operator, x):
    """The solution of one input, and dG/dz and dG/dx there."""
    z = fixed_point(operator, x)
    of_z, of_x = torch.autograd.functional.jacobian(operator, (z, x))
    return z, of_z[0, :, 0].detach(), of_x[0, :, 0].detach()


def test_slope_of_the_fixed_point_is_that_of_the_implicit_function_theorem():
    operator, x = Tanh(matrix(4, 0.9)), 0.3 * random(1, 4)
    _, j, of_x = jacobians(operator, x)
    slope = torch.linalg.solve(torch.eye(4) - j, of_x)
    h = 1e-5
    steps = h * torch.eye(4).double()
    quotients = (fixed_point(operator, x + steps) - fixed_point(operator, x - steps)).T / (2 * h)
    assert torch.allclose(slope, quotients, atol=1e-8)  # h squared, and rounding over h
    mu = torch.linalg.matrix_norm(j, 2)
    assert torch.linalg.matrix_norm(slope, 2) <= torch.linalg.matrix_norm(of_x, 2) / (1 - mu)


# Section 3


def phi(x, f):
    """The definition, point by point, on a finite set X: M and Lambda change at distances only."""
    distance = torch.cdist(x, x)
    steepness = torch.cdist(f, f) / distance.fill_diagonal_(torch.inf)
    distance.fill_diagonal_(0.0)
    values = []
    for i in range(len(x)):
        order = distance[i].argsort()
        ends = [*distance[i][order][1:].tolist(), 1.0]
        for k, end in enumerate(ends):
            ball = order[: k + 1]
            m = f[ball].norm(dim=1).max()
            load = 1 + m + steepness[ball][:, ball].nan_to_num(0.0, posinf=0.0).max()
            best = min(1 / load.item(), end, 1.0)
            if best < end:
                break
        values.append(best)
    return torch.tensor(values, dtype=torch.float64)


def largest_slope(x, f):
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return (torch.cdist(f, f) / distance).max().item()


@pytest.mark.parametrize("seed", range(3))
def test_step_from_size_and_slope_is_regular_for_any_function(seed):
    # A vector field with a pole, on scattered points of an unbounded domain in the plane.
    x = random(80, 2, seed=seed) * torch.logspace(-2, 2, 80).double()[:, None]
    f = torch.cat([x / x.square().sum(1, keepdim=True), x.square().sum(1, keepdim=True)], 1)
    radius, c = phi(x, f), 0.5
    step = (c * radius.square())[:, None]
    assert step.min() > 0
    assert largest_slope(x, f) > 100
    assert 0.5 < largest_slope(x, radius[:, None]) <= 1 + 1e-9
    assert largest_slope(x, step) <= 2 * c
    assert largest_slope(x, step * f) <= 4 * c


def test_reciprocal_has_its_iterates_and_slopes():
    eta, n_iter = 0.3, 30
    x = torch.logspace(-7, 0, 50).double().requires_grad_()
    z, operator = torch.zeros_like(x), ScalarReciprocal(eta)
    for t in range(n_iter + 1):
        closed = eta * sum(((1 - eta * x) ** k for k in range(t)), torch.zeros_like(x))
        assert torch.allclose(z, closed, rtol=1e-12)
        if t > 1:
            (slope,) = torch.autograd.grad(z.sum(), x, retain_graph=True)
            # The largest is at the least x, 1e-7, where (1 - eta x)^t is 1 - 1e-6.
            assert slope.abs().max().item() == pytest.approx(eta**2 * t * (t - 1) / 2, rel=1e-5)
        z = operator(z, x)


# Section 4


@each_target
def test_slopes_grow_by_no_more_than_their_bound(name):
    x, n_iter = grid(name, 60), 25
    operator = ScalarConstruction(name)
    (a, b), epsilon, f = operator.bounds, operator.step(x), TARGETS[name].function(x)
    layer, batch = Equilibrium(operator), make_batch(x, name)
    slopes = jacobian_slopes(layer, ScalarObjective(), batch, n_iter).amax(1)
    assert slopes[0] == 0
    assert slopes[-1] > slopes[1]
    for t in range(n_iter):
        size = ((1 - (1 - epsilon) ** t) * f).abs().max()
        assert slopes[t + 1] <= ((a + b * size) + (1 - epsilon).max() * slopes[t]) * (1 + 1e-9)


def test_bound_of_the_slopes_is_sharp_for_the_reciprocal():
    eta, bound = 0.5, 0.0
    for t in range(50):
        bound += eta * (eta * t)  # a + b B_t, with mu = 1
        assert bound == pytest.approx(eta**2 * (t + 1) * t / 2)


def test_residual_bounds_the_error_from_both_sides():
    mu = 0.9
    a, x = matrix(6, mu), random(3, 6)
    g, z0 = Equilibrium(Affine(a)).bind(x)
    z_star = affine_solution(a, x)
    with torch.no_grad():
        for z, gz in islice(Picard().iterates(g, z0), 60):
            residual, error = (gz - z).norm(dim=1), (z - z_star).norm(dim=1)
            assert (residual / (1 + mu) <= error * (1 + 1e-9)).all()
            assert (error <= residual / (1 - mu) * (1 + 1e-9)).all()


# Section 5


@pytest.mark.parametrize(("value", "damping"), [(-2.0, 0.5), (0.9, 0.5), (-3.0, 0.3), (1.5, 0.1)])
def test_damping_moves_an_eigenvalue(value, damping):
    a = torch.tensor([[value]], dtype=torch.float64)
    x = torch.ones(1, 1).double()
    g, z0 = Equilibrium(Affine(a)).bind(x)
    z_star, factor = 1 / (1 - value), 1 - damping * (1 - value)
    with torch.no_grad():
        for t, (z, _) in enumerate(islice(Picard(damping).iterates(g, z0), 12)):
            assert z.item() - z_star == pytest.approx(-z_star * factor**t, abs=1e-9)
    assert (abs(factor) < 1) == (value < 1)


# Section 6


@pytest.mark.parametrize("terms", [1, 3, 10])
def test_remainder_of_the_neumann_series(terms):
    j, v = matrix(5, 0.8), random(1, 5)
    u = torch.linalg.solve(torch.eye(5) - j.T, v[0])
    found = Neumann(terms).solve(lambda w: w - w @ j, v, Dense(1)).z[0]
    assert torch.allclose(u - found, torch.linalg.matrix_power(j.T, terms) @ u, rtol=1e-10)
    assert (u - found).norm() <= 0.8**terms * u.norm()


def test_two_chord_steps_have_the_second_derivative_of_the_fixed_point():
    a, x0, weights = matrix(3, 0.8), random(3), random(3, seed=5)

    def solved(x):
        z = torch.zeros(3).double()
        for _ in range(300):
            z = torch.tanh(a @ z + x)
        return z @ weights

    z_star = torch.zeros(3).double()
    for _ in range(300):
        z_star = torch.tanh(a @ z_star + x0)
    inverse = torch.linalg.inv(torch.eye(3) - (1 - z_star.square())[:, None] * a)

    def chord(x, steps):
        z = z_star
        for _ in range(steps):
            z = z + inverse @ (torch.tanh(a @ z + x) - z)
        return z @ weights

    hessian = torch.autograd.functional.hessian
    exact = hessian(solved, x0)
    assert exact.abs().max() > 0.1
    assert torch.allclose(hessian(lambda x: chord(x, 2), x0), exact, rtol=1e-10)
    assert not torch.allclose(hessian(lambda x: chord(x, 1), x0), exact, rtol=1e-2)
    first = torch.autograd.functional.jacobian
    for steps in (1, 2):
        found = first(lambda x, steps=steps: chord(x, steps), x0)
        assert torch.allclose(found, first(solved, x0), rtol=1e-10)


def test_random_signs_give_the_frobenius_norm():
    j = matrix(4, 0.9)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4))).double()
    squares = (signs @ j).square().sum(1)
    assert squares.std() > 0.01  # one probe is not the mean
    frobenius = j.square().sum()
    assert torch.allclose(squares.mean(), frobenius)
    assert frobenius / 4 <= 0.9**2 <= frobenius


# Section 7


def test_rounds_of_power_iteration_never_lower_the_estimate():
    j, d = random(7, 4), random(4, seed=2)
    estimates = []
    for _ in range(60):
        d = d / d.norm()
        estimates.append((j @ d).norm().item())
        d = j.T @ (j @ d)
    assert all(b >= a * (1 - 1e-12) for a, b in pairwise(estimates))
    assert estimates[-1] == pytest.approx(torch.linalg.matrix_norm(j, 2).item(), rel=1e-9)


def test_residuals_may_grow_first_where_only_the_spectral_radius_is_below_one():
    a = torch.tensor([[0.5, 8.0], [0.0, 0.5]]).double()
    assert torch.linalg.eigvals(a).abs().max() < 1 < torch.linalg.matrix_norm(a, 2)
    g, z0 = Equilibrium(Affine(a)).bind(torch.tensor([[0.0, 1.0]]).double())
    with torch.no_grad():
        residuals = [(gz - z).norm().item() for z, gz in islice(Picard().iterates(g, z0), 60)]
    assert max(residuals) > 5 * residuals[0]
    assert residuals[-1] < 1e-12


@pytest.mark.parametrize(
    ("name", "exponent"), [("reciprocal_positive", -2), ("log", -1), ("sqrt", -0.5)]
)
def test_slopes_on_shells_tell_the_naive_operator_from_the_construction(name, exponent):
    distance = torch.logspace(-6, -2, 9).double().requires_grad_()

    def fitted(operator):
        z = torch.ones_like(distance)
        (slope,) = torch.autograd.grad(operator(z, operator.encode(distance)).sum(), distance)
        x, y = distance.detach().log(), slope.abs().log()
        return (((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()).item()

    assert fitted(ScalarNaive(name)) == pytest.approx(exponent, abs=1e-6)
    assert fitted(ScalarConstruction(name)) > -0.1


@each_target
def test_slope_in_x_grows_linearly_with_the_state(name):
    x = grid(name, 50).requires_grad_()
    operator = ScalarConstruction(name)

    def slope(size):
        g = operator(torch.full_like(x, size), operator.encode(x))
        return torch.autograd.grad(g.sum(), x)[0]

    growth = [(slope(10.0**k) - slope(0.0)).abs().max().log10().item() for k in range(6)]
    assert all(b - a == pytest.approx(1, abs=1e-9) for a, b in pairwise(growth))
