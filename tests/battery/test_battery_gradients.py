"""Gradients against dense solves, and the calls they cost. Dense and ragged."""

import pytest
import torch
from battery_cases import EXACT, batch, each_kind, each_solver, exact, parts_of, rows
from problems import CountedProducts, random

from lit_implicit import (
    GMRES,
    Anderson,
    Broyden,
    Equilibrium,
    Implicit,
    JacobianFree,
    Neumann,
    Picard,
    Unrolled,
)

BACKWARD = {
    "same": None,
    "picard": Picard(**EXACT),
    "anderson": Anderson(8, **EXACT),
    "broyden": Broyden(**EXACT),
    "gmres": GMRES(**EXACT),
}
each_backward = pytest.mark.parametrize("backward", BACKWARD.values(), ids=BACKWARD.keys())


def run(kind, solver, adjoint, dtype=torch.float64):
    """The gradients of sum v z in each b and in the gain, and v sample by sample."""
    parts = parts_of(kind)
    operator, x, b = batch(kind, parts, dtype)
    z, solution = Equilibrium(operator, solver, adjoint)(x)
    v = random(*z.shape, seed=5).to(dtype)
    of_gain, of_b = torch.autograd.grad((v * z).sum(), [operator.gain, b])
    return rows(kind, of_b, parts), of_gain, rows(kind, v, parts), solution


@each_kind
@each_solver
@each_backward
def test_gradient_is_that_of_a_dense_solve(kind, solver, backward):
    of_b, of_gain, v, solution = run(kind, solver, Implicit(backward))
    _, expected, expected_gain = exact(parts_of(kind), v)
    for found, known in zip(of_b, expected, strict=True):
        assert torch.allclose(found, known, rtol=1e-10, atol=1e-11)
    assert torch.allclose(of_gain, expected_gain, rtol=1e-10)
    assert solution.adjoint.status.tolist() == [0] * 4


@each_kind
def test_gradient_is_that_of_a_deep_unrolling(kind):
    of_b, of_gain, v, _ = run(kind, Picard(max_iter=300), Unrolled())
    _, expected, expected_gain = exact(parts_of(kind), v)
    for found, known in zip(of_b, expected, strict=True):
        assert torch.allclose(found, known, rtol=1e-10, atol=1e-11)
    assert torch.allclose(of_gain, expected_gain, rtol=1e-10)


@each_kind
@pytest.mark.parametrize(
    ("adjoint", "terms"),
    [(Implicit(Neumann(k)), k) for k in (1, 3)] + [(JacobianFree(k), k) for k in (1, 3)],
    ids=["neumann1", "neumann3", "phantom1", "phantom3"],
)
def test_truncated_gradient_is_its_finite_series(kind, adjoint, terms):
    of_b, _, v, _ = run(kind, Anderson(**EXACT), adjoint)
    for found, w, (a, _) in zip(of_b, v, parts_of(kind), strict=True):
        series = sum(torch.linalg.matrix_power(0.9 * a.T, i) @ w for i in range(terms))
        assert torch.allclose(found, series, rtol=1e-12, atol=1e-13)


@each_kind
def test_the_jacobian_free_gradient_is_another_in_the_same_half_space(kind):
    exactly, _, _, _ = run(kind, Anderson(**EXACT), Implicit())
    inexact, _, _, _ = run(kind, Anderson(**EXACT), JacobianFree())
    a, b = torch.cat(exactly), torch.cat(inexact)
    cosine = (a @ b / (a.norm() * b.norm())).item()
    assert 0.3 < cosine < 0.99


@each_kind
@pytest.mark.parametrize(("order", "tracked"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("name", ["picard", "anderson", "broyden", "gmres"])
def test_calls_of_g_and_products_are_those_that_are_counted(kind, name, order, tracked):
    parts = parts_of(kind)
    operator, x, b = batch(kind, parts)
    plain, calls = operator.forward, {True: 0, False: 0}

    def counted(z, c):
        calls[torch.is_grad_enabled()] += 1
        return CountedProducts.apply(plain(z, c))

    operator.forward = counted
    backward = {"rtol": 1e-8, "max_iter": 200}
    backward = {"picard": Picard, "anderson": Anderson, "broyden": Broyden, "gmres": GMRES}[name](
        **backward
    )
    z, solution = Equilibrium(operator, Anderson(), Implicit(backward, order))(x)
    assert calls == {True: tracked, False: solution.n_eval.max().item()}
    CountedProducts.n_calls = 0
    torch.autograd.grad((z**2).sum(), b)
    spent = solution.adjoint.n_iter.max().item()
    if order == 1:  # the last product brings u to the leaves
        assert CountedProducts.n_calls == spent + 1
    else:  # the slowest sample need not be the same in both solves
        assert spent + 1 < CountedProducts.n_calls <= 2 * spent + 2
    assert calls[True] == tracked  # no call of G in the backward pass


@each_kind
def test_a_backward_solve_that_does_not_converge_is_reported(kind):
    parts = parts_of(kind)
    _, _, _, solution = run(kind, Anderson(**EXACT), Implicit(Picard(rtol=1e-12, max_iter=2)))
    assert solution.adjoint.n_iter.tolist() == [2] * len(parts)  # its own settings, not those of z
    assert solution.adjoint.status.tolist() == [1] * len(parts)
    assert (solution.adjoint_relative_residual > 1e-4).all()


@each_kind
def test_evaluation_costs_no_call_beyond_those_of_the_solver(kind):
    operator, x, _ = batch(kind, parts_of(kind))
    with torch.no_grad():
        z, solution = Equilibrium(operator, Picard(rtol=0.0, max_iter=10), Implicit())(x)
    assert operator.n_calls == 10 == solution.n_eval.max().item()
    assert not z.requires_grad
