"""Flows found from the force alone, and what is said where they are not."""

import torch
from flow.flow_problem import fields, grid, off

from lit_implicit_flow.equation import force_of, force_of_curl, relative_residual
from lit_implicit_flow.newton import NewtonKrylov
from lit_implicit_flow.steady import FlowStatus, SteadySolver


def solve(force, nu, n_starts=1, **settings):
    n, side = len(force), force.shape[-1]
    shape = (n_starts, n, side, side)
    noise = torch.randn(shape, dtype=force.dtype, generator=torch.Generator().manual_seed(0))
    return SteadySolver(**settings).solve(force, torch.full((n,), nu, dtype=force.dtype), noise)


def test_slow_flows_are_found_from_the_force_and_from_any_start():
    w = 0.33 * fields(24, 3)
    found = solve(force_of(w, 0.2), 0.2, n_starts=2)
    assert found.status.tolist() == [FlowStatus.SOLVED] * 3
    assert found.n_agree.tolist() == [2] * 3
    assert off(found.vorticity, w) < 1e-8


def test_continuation_reaches_where_newton_from_rest_does_not():
    force = force_of_curl(0.1 * fields(24, 2, max_wavenumber=2, peak_wavenumber=1))
    nu = torch.full((2,), 0.02, dtype=torch.float64)
    from lit_implicit_flow.equation import curl

    rest = NewtonKrylov().solve(curl(force), nu, torch.zeros_like(force[:, 0]))
    found = solve(force, 0.02, n_starts=0, max_tail=1.0)
    assert not rest.converged.all()
    assert found.status.tolist() == [FlowStatus.SOLVED] * 2
    assert float(relative_residual(found.vorticity, force, 0.02).max()) < 1e-8


def test_other_flows_under_the_same_force_are_seen():
    """Kolmogorov's flow of wavenumber 2 is unstable to waves as long as the square.

    Its steady flow is a shear at every viscosity; below the critical one there are others
    (Meshalkin and Sinai, 1961).
    """
    _, y = grid(16)
    nu = 0.1
    force = torch.stack([torch.sin(2 * y), 0 * y])[None]
    laminar = (-torch.cos(2 * y) / (2 * nu))[None]
    found = solve(force, nu, n_starts=8, max_tail=1.0)
    assert off(found.vorticity, laminar) < 1e-6
    assert found.status.tolist() == [FlowStatus.NOT_UNIQUE]
    calm = solve(force, 2.0, n_starts=8)
    assert calm.status.tolist() == [FlowStatus.SOLVED]
    assert calm.n_agree.tolist() == [8]


def test_a_force_that_is_too_strong_is_named_and_does_not_harm_its_mates():
    w = 0.33 * fields(24, 3)
    force = force_of(w, 0.2)
    force[1] *= 1e5
    found = solve(force, 0.2)
    assert found.status.tolist() == [FlowStatus.SOLVED, FlowStatus.NOT_CONVERGED, FlowStatus.SOLVED]
    assert float(found.reached[1]) > 0.2
    assert off(found.vorticity[::2], w[::2]) < 1e-8


def test_flows_that_the_grid_does_not_hold_are_named():
    force = force_of_curl(0.1 * fields(24, 2, max_wavenumber=2, peak_wavenumber=1))
    found = solve(force, 0.02, n_starts=0, max_tail=1e-6)
    assert found.status.tolist() == [FlowStatus.UNDER_RESOLVED] * 2
    assert (found.tail > 1e-6).all()
