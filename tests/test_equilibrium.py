"""The layer itself: what it refuses, warm starts, and the map it was solved with."""

import pytest
import torch
from problems import NAMES, PROBLEMS, Affine, matrix, random
from torch import nn

from lit_implicit import Anderson, Broyden, Equilibrium, Implicit, Picard, Unrolled

each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)


@each_problem
@pytest.mark.parametrize("solver", [Picard, Anderson, Broyden])
def test_a_warm_start_gives_the_same_answer_in_fewer_iterations(problem, solver):
    layer = Equilibrium(problem.make(), solver(rtol=1e-10, max_iter=400))
    with torch.no_grad():
        cold, solution = layer(problem.x)
        near, warm = layer(problem.x, problem.z_star * (1 + 1e-6))
        at, done = layer(problem.x, problem.z_star)
    for y in (cold, near, at):
        torch.testing.assert_close(y, problem.z_star, rtol=1e-6, atol=1e-8)
    # (A system of two unknowns takes Anderson and Broyden three steps from anywhere.)
    assert (warm.n_iter <= solution.n_iter).all()
    assert warm.n_iter.sum() < solution.n_iter.sum()
    assert solver is not Picard or (warm.n_iter < solution.n_iter).all()
    assert (done.n_iter == 1).all()  # the one that sees that there is nothing to do


def test_a_warm_start_leaves_the_gradient_as_it_is():
    operator, x = Affine(matrix(5, 0.9)), random(2, 5).requires_grad_()
    layer = Equilibrium(operator, Picard(rtol=1e-13, max_iter=900), Implicit())

    def gradients(z0):
        y, _ = layer(x, z0)
        return torch.autograd.grad(y.square().sum(), [operator.a, x])

    cold = gradients(None)
    (previous, _) = layer(1.1 * x)
    for found, expected in zip(gradients(previous.detach()), cold, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_unrolled_differentiates_its_start():
    a, x = matrix(3, 0.5), random(1, 3)
    z0 = random(1, 3, seed=5).requires_grad_()
    y, _ = Equilibrium(Affine(a.clone()), Picard(max_iter=4), Unrolled())(x, z0)
    (found,) = torch.autograd.grad(y.sum(), z0)
    expected = torch.linalg.matrix_power(a, 4).sum(0)
    torch.testing.assert_close(found[0], expected)


def test_solve_returns_the_map_of_the_answer():
    class Masked(Affine):
        def encode(self, x):
            return nn.functional.dropout(x, 0.5)  # another mask at each call

    operator = Masked(matrix(4, 0.5))
    layer = Equilibrium(operator, Anderson(rtol=1e-12, max_iter=100))
    g, solution = layer.solve(random(3, 4))
    torch.testing.assert_close(g(solution.z), solution.z, rtol=1e-9, atol=1e-9)
    assert g.operator is operator


@pytest.mark.parametrize("name", ["operator", "solver", "adjoint"])
def test_parts_of_another_kind_are_refused(name):
    parts = {"operator": Affine(matrix(2, 0.5)), "solver": Picard(), "adjoint": Implicit()}
    # Past the type checks of these tests, as for those who use the layer.
    make = getattr(Equilibrium.__init__, "__wrapped__", Equilibrium.__init__)
    layer = Equilibrium.__new__(Equilibrium)
    with pytest.raises(TypeError, match=rf"`Equilibrium.{name}` must be an `Abstract\w+`, got 3"):
        make(layer, **{**parts, name: 3})
