"""torch.func and forward mode through a layer with inexact gradients, whatever the solver."""

import pytest
import torch
from problems import Affine, affine_solution, matrix, random
from torch.autograd import forward_ad

from lit_implicit import Anderson, Auto, Broyden, Equilibrium, JacobianFree, Picard

SOLVERS = [s(rtol=1e-13, max_iter=300) for s in (Picard, Anderson, Broyden, Auto)]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_gradients_by_torch_func_are_those_of_autograd(solver):
    layer, x = Equilibrium(Affine(matrix(4, 0.5)), solver, JacobianFree(2)), random(2, 4)

    def loss(x):
        return layer(x)[0].square().sum()

    x.requires_grad_()
    (expected,) = torch.autograd.grad(loss(x), x)
    assert torch.allclose(torch.func.grad(loss)(x.detach()), expected, rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_forward_mode_differentiates_the_iterations(solver):
    a, x, along = matrix(4, 0.5), random(2, 4), random(2, 4, seed=1)
    layer = Equilibrium(Affine(a), solver, JacobianFree())
    with forward_ad.dual_level():
        y, _ = layer(forward_ad.make_dual(x, along))
        tangent = forward_ad.unpack_dual(y).tangent
    # A linear map is its own derivative.
    assert torch.allclose(tangent, affine_solution(a, along), rtol=1e-6)
