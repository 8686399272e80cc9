"""Newton's method on flows that are known."""

import pytest
import torch
from flow.flow_problem import fields, off

from lit_implicit.layout import Dense
from lit_implicit.solvers import GMRES
from lit_implicit_flow.coarse import CoarseSolve
from lit_implicit_flow.equation import balance, curl, force_of, linearized
from lit_implicit_flow.newton import NewtonKrylov
from lit_implicit_flow.spectral import Spectral


def known(nu, n=2, side=24, **family):
    w = 0.33 * fields(side, n, **family)
    return w, curl(force_of(w, nu)), torch.full((n,), nu, dtype=torch.float64)


def beside(w, share=0.01):
    """Fields that are off by white noise of a share of their size."""
    noise = torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(3))
    sizes = w.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return w + share * sizes[:, None, None] * noise


def test_from_rest_at_large_viscosity():
    w, curl_f, nu = known(0.2)
    found = NewtonKrylov().solve(curl_f, nu, 0 * w)
    assert found.converged.all()
    assert off(found.vorticity, w) < 1e-8


@pytest.mark.parametrize("nu", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("family", ["random", "kolmogorov"])
def test_from_beside_the_flow_at_any_viscosity(nu, family):
    w, curl_f, nu = known(nu, family=family)
    found = NewtonKrylov().solve(curl_f, nu, beside(w))
    assert found.converged.all()
    assert off(found.vorticity, w) < 1e-8
    assert int(found.n_iter.max()) <= 6


def test_convergence_is_quadratic():
    w, curl_f, nu = known(0.02)
    newton = NewtonKrylov(rtol=1e-13, krylov=GMRES(100, rtol=1e-13, max_iter=200))
    errors, start = [], beside(w, 0.1)
    for _ in range(3):
        start = NewtonKrylov(krylov=newton.krylov, max_iter=1).solve(curl_f, nu, start).vorticity
        errors.append((start - w).flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1))
    first, second, third = errors
    assert first.min() > 1e-6  # rounding is far away
    ratios = torch.stack([second / first.square(), third / second.square()])
    assert ratios.max() < 100
    assert (second < 1e-2 * first).all()
    assert (third < first**3).all()


def test_samples_are_solved_as_if_alone():
    w, curl_f, _ = known(0.1, 3)
    nu = torch.tensor([0.1, 1.0, 0.01]).double()
    curl_f = balance(w, nu)
    start = beside(w, 0.05)
    start[1] = torch.nan
    together = NewtonKrylov().solve(curl_f, nu, start)
    assert together.converged.tolist() == [True, False, True]
    for i in (0, 2):
        one = slice(i, i + 1)
        alone = NewtonKrylov().solve(curl_f[one], nu[one], start[one])
        assert int(alone.n_iter) == int(together.n_iter[i])
        assert off(together.vorticity[one], alone.vorticity) < 1e-11


def test_a_force_beyond_reach_is_said_not_to_converge():
    w, curl_f, nu = known(0.01)
    found = NewtonKrylov(max_iter=3).solve(50 * curl_f, nu, 0 * w)
    assert not found.converged.any()
    assert (found.residual > 1e-11).all()


@pytest.mark.parametrize("side", [15, 16])
def test_the_coarse_solve_of_all_waves_inverts_the_linearised_equation(side):
    w = fields(side, 2, max_wavenumber=3)
    nu = torch.tensor([0.01, 0.5]).double()
    s = Spectral.of(w)
    change = s.field(s.transform(torch.randn_like(w)))
    given = s.field(s.transform(linearized(w, change, nu)) * s.inverse / nu[:, None, None])
    assert off(CoarseSolve(w, nu, side)(given), change) < 1e-10
    partly = CoarseSolve(w, nu, 2)(given)
    high = torch.maximum(s.kx.abs(), s.ky) > 2
    assert off(s.field(s.transform(partly) * high), s.field(s.transform(given) * high)) < 1e-13


def test_the_coarse_solve_saves_iterations_and_changes_no_answer():
    w, curl_f, nu = known(0.005)
    start = beside(w)
    calls = {}
    found = {}
    for coarse in (0, 8):
        krylov = Counting()
        found[coarse] = NewtonKrylov(coarse=coarse, krylov=krylov).solve(curl_f, nu, start)
        calls[coarse] = krylov.n_calls
    assert off(found[0].vorticity, found[8].vorticity) < 1e-8
    assert calls[8] < calls[0] / 2


class Counting(GMRES):
    """Counts products with the linearised equation."""

    def __init__(self):
        super().__init__(200, rtol=1e-3, max_iter=400)
        object.__setattr__(self, "n_calls", 0)

    def solve(self, matvec, rhs, layout):
        assert isinstance(layout, Dense)
        solution = super().solve(matvec, rhs, layout)
        object.__setattr__(self, "n_calls", self.n_calls + int(solution.n_eval.max()))
        return solution
