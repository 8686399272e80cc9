"""The same problem by torchdeq 0.1.0: equal first derivatives; its second ones are wrong."""

import pytest
import torch
from problems import Tanh, matrix, random

from lit_implicit import Anderson, Equilibrium, Implicit, Picard, Unrolled

torchdeq = pytest.importorskip("torchdeq")


def by_torchdeq(a, x, solver):
    """Its answer, by the implicit function theorem, as its documentation has it."""
    deq = torchdeq.get_deq(
        ift=True, f_solver=solver, b_solver=solver, f_max_iter=300, b_max_iter=300,
        f_tol=1e-13, b_tol=1e-13,
    )  # fmt: skip
    deq.train()
    z, _ = deq(lambda z: (z @ a.T + x).tanh(), torch.zeros_like(x))
    return z[-1]


def ours(a, x, adjoint, solver=None):
    operator = Tanh(a)
    del operator._parameters["a"]
    operator.a = a
    return Equilibrium(operator, solver or Anderson(rtol=1e-14, max_iter=300), adjoint)(x)[0]


def inputs():
    return matrix(4, 0.8).requires_grad_(), random(3, 4).requires_grad_()


@pytest.mark.parametrize("solver", ["fixed_point_iter", "anderson", "broyden"])
def test_first_derivatives_are_those_of_torchdeq(solver):
    a, x = inputs()
    v = random(3, 4, seed=9)
    found = torch.autograd.grad((ours(a, x, Implicit()).sin() * v).sum(), (a, x))
    theirs = torch.autograd.grad((by_torchdeq(a, x, solver).sin() * v).sum(), (a, x))
    for p, q in zip(found, theirs, strict=True):
        assert torch.allclose(p, q, rtol=1e-8, atol=1e-10)


def test_a_hessian_vector_product_that_torchdeq_gets_wrong():
    """It raises no error, and is off by more than a tenth; ours is that of deep unrolling."""
    a, x = inputs()
    direction = random(4, 4, seed=3)

    def product(z):
        (gradient,) = torch.autograd.grad(z.square().sum(), a, create_graph=True)
        return torch.autograd.grad((gradient * direction).sum(), a)[0]

    expected = product(ours(a, x, Unrolled(), Picard(max_iter=300)))
    assert torch.allclose(product(ours(a, x, Implicit(order=2))), expected, rtol=1e-8, atol=1e-10)
    theirs = product(by_torchdeq(a, x, "fixed_point_iter"))
    assert (theirs - expected).norm() > 0.1 * expected.norm()
