"""The equation: closed forms, identities, and its derivative against differences."""

import pytest
import torch
from flow.flow_problem import fields, grid, off

from lit_implicit_flow.equation import (
    balance,
    best_viscosity,
    curl,
    divergence,
    force_of,
    force_of_curl,
    linearized,
    project,
    relative_residual,
    residual,
    velocity,
)

N = 32


@pytest.mark.parametrize("k", [1, 3, 15])
def test_taylor_green_vortices_do_not_advect_themselves(k):
    x, y = grid(N)
    w = (-2 * k * torch.cos(k * x) * torch.cos(k * y))[None]
    u = torch.stack([torch.cos(k * x) * torch.sin(k * y), -torch.sin(k * x) * torch.cos(k * y)])
    assert off(velocity(w), u[None]) < 1e-13 * N
    nu = 0.3
    assert off(force_of(w, nu), 2 * nu * k**2 * u[None]) < 1e-12 * N
    assert float(relative_residual(w, 2 * nu * k**2 * u[None], nu)) < 1e-11


@pytest.mark.parametrize("m", [1, 4])
def test_kolmogorov_flow(m):
    """f = chi sin(m y) along x: u = chi / (nu m^2) sin(m y), at every viscosity a steady flow."""
    _, y = grid(N)
    chi, nu = 0.7, 0.02
    speed = chi / (nu * m**2)
    force = torch.stack([chi * torch.sin(m * y), 0 * y])[None]
    w = (-speed * m * torch.cos(m * y))[None]
    assert off(velocity(w), torch.stack([speed * torch.sin(m * y), 0 * y])[None]) < 1e-13
    assert off(force_of(w, nu), force) < 1e-12
    assert float(relative_residual(w, force, nu)) < 1e-12
    assert float(relative_residual(0 * w, force, nu)) == pytest.approx(1.0)


def test_advection_is_the_product_of_velocity_and_gradient():
    """Two shear flows: u . grad w is known by trigonometry."""
    x, y = grid(N)
    w = (torch.cos(2 * x) + torch.cos(3 * y))[None]
    # psi = w_1 / 4 + w_2 / 9, u = (d psi / dy, - d psi / dx)
    u1, u2 = -torch.sin(3 * y) / 3, torch.sin(2 * x) / 2
    wanted = u1 * -2 * torch.sin(2 * x) + u2 * -3 * torch.sin(3 * y)
    assert off(balance(w, 0.0), wanted[None]) < 1e-13
    viscous = 0.1 * (4 * torch.cos(2 * x) + 9 * torch.cos(3 * y))
    assert off(balance(w, 0.1), (wanted + viscous)[None]) < 1e-13


def test_velocity_and_force_are_inverses_of_the_curl_without_divergence():
    w = fields()
    u = velocity(w)
    assert off(curl(u), w) < 1e-13
    assert divergence(u).abs().max() < 1e-12
    assert u.mean(dim=(-2, -1)).abs().max() < 1e-15
    assert off(curl(force_of_curl(w)), w) < 1e-13


def test_projection_takes_out_gradient_and_mean_and_nothing_else():
    x, y = grid(N)
    sound = velocity(fields(number=1))
    gradient = torch.stack([torch.cos(x) * torch.sin(2 * y), 2 * torch.sin(x) * torch.cos(2 * y)])
    assert off(project(sound), sound) < 1e-13
    assert off(project(sound + 0.3 * gradient + 0.5), sound) < 1e-13
    assert off(divergence(gradient[None]), (-5 * torch.sin(x) * torch.sin(2 * y))[None]) < 1e-13


@pytest.mark.parametrize("nu", [1.0, 0.01, 0.0])
@pytest.mark.parametrize("side", [21, 32, 64])
def test_exact_pairs_satisfy_the_equation_to_rounding(nu, side):
    w = 0.33 * fields(side)
    force = force_of(w, nu)
    assert float(relative_residual(w, force, nu).max()) < 1e-13
    # The very equation, and not a truncation of it: the same pair on a finer grid.
    fine = 0.33 * fields(3 * side)
    assert off(force_of(fine, nu)[..., ::3, ::3], force) < 1e-12
    assert off(residual(w, 0 * force, nu), balance(w, nu)) < 1e-15


def test_viscosities_of_samples_are_their_own():
    w = fields()
    nu = torch.tensor([0.1, 0.2, 0.3]).double()
    one_by_one = [balance(w[i], float(nu[i])) for i in range(3)]
    assert off(balance(w, nu), torch.stack(one_by_one)) < 1e-14
    assert off(linearized(w, w, nu), 2 * balance(w, 0.0) + balance(w, nu) - balance(w, 0.0)) < 1e-13


def test_viscosity_is_told_by_a_pair():
    w, nu = fields(), torch.tensor([0.1, 0.02, 3.0]).double()
    force = force_of(w, nu)
    assert torch.allclose(best_viscosity(w, force), nu, rtol=1e-10)
    # Of what is no pair, the one that leaves least.
    other = force + 0.1 * force_of(fields(seed=3), 0.1)
    found = best_viscosity(w, other)
    least = relative_residual(w, other, found)
    assert all((relative_residual(w, other, s * found) > least).all() for s in (0.9, 1.1))


def test_linearised_equation_is_the_derivative():
    w, change = fields(), fields(seed=7)
    nu, h = 0.05, 1e-4
    # The equation is quadratic: central differences are exact but for rounding.
    differences = (balance(w + h * change, nu) - balance(w - h * change, nu)) / (2 * h)
    assert off(linearized(w, change, nu), differences) < 1e-10


def test_equation_is_differentiable_to_second_order():
    w = fields(8, 1, max_wavenumber=1, peak_wavenumber=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: balance(v, 0.1), w)
    assert torch.autograd.gradgradcheck(lambda v: balance(v, 0.1), w)


def test_single_precision_holds_the_equation_to_its_rounding():
    w = (0.33 * fields(64)).float()
    force = force_of(w, 0.01)
    assert force.dtype == torch.float32
    assert float(relative_residual(w, force, 0.01).max()) < 1e-5
