"""Second derivatives of `Implicit(order=2)`: gradgradcheck, deep unrolling, finite differences."""

import pytest
import torch
from problems import Affine, RaggedAffine, Tanh, matrix, random, systems

from lit_implicit import GMRES, Anderson, Broyden, Equilibrium, Implicit, Neumann, Picard, Unrolled

EXACT = {"rtol": 1e-14, "max_iter": 400}
TWICE = Implicit(order=2)


class RaggedTanh(RaggedAffine):
    def forward(self, z, c):
        return super().forward(z, c).tanh()


def direction(p):
    return random(p.numel(), seed=5).reshape(p.shape)


PARTS = systems(*((matrix(n, 0.7, seed=n), random(n, seed=n)) for n in (2, 3, 1)))
CASES = {
    "affine": (lambda: Affine(matrix(2, 0.7)), random(2, 2)),
    "tanh": (lambda: Tanh(matrix(2, 0.7)), random(2, 2)),
    "ragged affine": (RaggedAffine, PARTS),
    "ragged tanh": (RaggedTanh, PARTS),
}
each_case = pytest.mark.parametrize(("make", "x"), CASES.values(), ids=CASES.keys())


def answer(make, x, solver, adjoint):
    """The answer as a function of the weight, which reaches G as a captured tensor, and of x."""
    operator = make()
    ((name, weight),) = operator.named_parameters()
    del operator._parameters[name]

    def of(weight, b):
        setattr(operator, name, weight)
        given = {**x.__dict__, "b": b} if hasattr(x, "b") else b
        return Equilibrium(operator, solver, adjoint)(
            type(x)(**given) if hasattr(x, "b") else given
        )[0]

    b = (x.b if hasattr(x, "b") else x).clone().requires_grad_()
    return of, (weight.detach().clone().requires_grad_(), b)


def second(of, inputs, loss=lambda y: (y**3).sum()):
    """The Hessian of a loss of the answer in all inputs, times drawn directions."""
    first = torch.autograd.grad(loss(of(*inputs)), inputs, create_graph=True)
    along = sum((g * direction(g)).sum() for g in first)
    return torch.autograd.grad(along, inputs), [g.detach() for g in first]


@each_case
def test_gradgradcheck(make, x):
    solver = Anderson(**EXACT)
    of, inputs = answer(make, x, solver, Implicit(GMRES(**EXACT), order=2))
    # Along drawn directions: all entries, one by one, are finite differences of whole solves.
    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(of, inputs, fast_mode=True)


@each_case
@pytest.mark.parametrize("solver", [Picard(**EXACT), Anderson(**EXACT), Broyden(**EXACT)])
@pytest.mark.parametrize("backward", [None, GMRES(**EXACT)], ids=["same", "gmres"])
def test_second_derivatives_are_those_of_deep_unrolling(make, x, solver, backward):
    found, gradient = second(*answer(make, x, solver, Implicit(backward, order=2)))
    expected, _ = second(*answer(make, x, Picard(max_iter=200), Unrolled()))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8 * b.abs().max().item())
    once, inputs = answer(make, x, solver, Implicit(backward))
    for a, b in zip(gradient, torch.autograd.grad((once(*inputs) ** 3).sum(), inputs), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


@each_case
def test_second_derivatives_are_those_of_finite_differences(make, x):
    of, inputs = answer(make, x, Anderson(**EXACT), TWICE)
    found, _ = second(of, inputs)
    h, total = 1e-5, 0.0
    for sign in (1, -1):  # d/ds of the gradient along the directions
        moved = [(p + sign * h * direction(p)).detach().requires_grad_() for p in inputs]
        gradient = torch.autograd.grad((of(*moved) ** 3).sum(), moved)
        total = [t + sign * g / (2 * h) for t, g in zip(total or [0, 0], gradient, strict=True)]
    for a, b in zip(found, total, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-7)  # h^2 and rounding / h


class Coded(Tanh):
    """An encoder, a readout of both state and context, and a shared weight in all of them."""

    def encode(self, x):
        return (x @ self.a).sin()

    def decode(self, z, c):
        return (z @ self.a).exp() * c


def test_second_derivatives_pass_encoder_readout_and_loss():
    def loss(y):
        return y.square().sum().log1p()

    x = random(3, 2)
    make = lambda: Coded(matrix(2, 0.7))  # noqa: E731
    found, _ = second(*answer(make, x, Picard(**EXACT), TWICE), loss)
    expected, _ = second(*answer(make, x, Picard(max_iter=200), Unrolled()), loss)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


def test_a_penalty_on_the_gradient_trains_by_one_backward():
    """The use: a loss with a derivative in it, whose graph is freed as it is walked."""

    def gradient(solver, adjoint):
        operator, x = Tanh(matrix(3, 0.8)), random(4, 3).requires_grad_()
        y, solution = Equilibrium(operator, solver, adjoint)(x)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (y.mean() + slope.square().sum()).backward()
        return operator.a.grad, solution

    found, solution = gradient(Picard(**EXACT), TWICE)
    expected, _ = gradient(Picard(max_iter=300), Unrolled())
    assert torch.allclose(found, expected, rtol=1e-10)
    assert solution.adjoint.status.tolist() == [0] * 4


def test_the_answer_is_the_solvers_to_the_bit():
    x = random(3, 4)
    for adjoint in (Implicit(), TWICE):
        y, solution = Equilibrium(Tanh(matrix(4, 0.9)), Anderson(rtol=1e-2), adjoint)(x)
        with torch.no_grad():
            plain, _ = Equilibrium(Tanh(matrix(4, 0.9)), Anderson(rtol=1e-2))(x)
        assert torch.equal(y, plain)
        assert torch.equal(y, solution.z)


def test_the_second_solve_refines_the_gradient():
    """Of k terms of the Neumann series it makes 2 k, so its error is the square."""
    a, x, v = matrix(4, 0.9), random(2, 4), random(2, 4, seed=9)
    for terms in (1, 3):
        of, inputs = answer(
            lambda: Affine(a.clone()), x, Picard(**EXACT), Implicit(Neumann(terms), order=2)
        )
        (of_x,) = torch.autograd.grad(of(*inputs), inputs[1], v)
        series = sum(v @ torch.linalg.matrix_power(a, i) for i in range(2 * terms))
        assert torch.allclose(of_x, series, rtol=1e-12)


class Sick(Tanh):
    """A sample marked by a huge first entry is NaN."""

    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)


def test_a_failed_sample_leaves_all_second_derivatives_as_without_it():
    x = random(3, 2)
    x[1, 0] = 100.0
    make = lambda: Sick(matrix(2, 0.7))  # noqa: E731
    keep = torch.tensor([True, False, True])

    def hessian(x, keep):
        of, (weight, _) = answer(make, x, Anderson(**EXACT), TWICE)
        return second(lambda w: of(w, x), (weight,), lambda y: (y[keep] ** 3).sum())[0][0]

    assert torch.allclose(hessian(x, keep), hessian(x[keep], keep[keep]), rtol=1e-11)


def test_a_backward_system_that_diverges_gives_zero_and_says_so():
    """Two samples at z* = 0; around it, G expands tenfold in the first."""

    class Expanding(Affine):
        def forward(self, z, c):
            slope = torch.tensor([[10.0], [0.1]]).double()
            return slope * (z @ self.a.T + z**2) + c

    operator = Expanding(torch.eye(2).double())
    x = torch.zeros(2, 2).double().requires_grad_()
    y, solution = Equilibrium(operator, Picard(max_iter=60, rtol=1e-12, atol=1e-12), TWICE)(x)
    (slope,) = torch.autograd.grad((y + y**2).sum(), x, create_graph=True)
    assert slope[0].tolist() == [0.0, 0.0]
    assert torch.allclose(slope[1], torch.full((2,), 1 / 0.9).double())
    (bend,) = torch.autograd.grad(slope.sum(), x)
    # Of z = 0.1 (z + z^2) + x: z' = 1/0.9, z'' = 0.2 z'^3; of the loss z + z^2: z'' + 2 z'^2.
    expected = 0.2 / 0.9**3 + 2 / 0.9**2
    assert torch.allclose(bend[1], torch.full((2,), expected).double())
    assert bend[0].tolist() == [0.0, 0.0]
    assert solution.adjoint.status.tolist() == [2, 0]


def test_a_second_solve_that_does_not_converge_is_reported():
    x = random(1, 4).requires_grad_()
    backward = Picard(rtol=1e-12, max_iter=3)
    operator = Tanh(matrix(4, 0.9))
    y, solution = Equilibrium(operator, Anderson(**EXACT), Implicit(backward, order=2))(x)
    torch.autograd.grad(y.square().sum(), x, create_graph=True)
    assert solution.adjoint.n_iter.tolist() == [6]  # of both solves
    assert solution.adjoint.status.tolist() == [1]
    assert (solution.adjoint_relative_residual > 1e-3).all()


@pytest.mark.parametrize("loss", [torch.sum, lambda y: y.square().sum()], ids=["linear", "square"])
def test_derivatives_beyond_the_order_are_refused(loss):
    x, solver = random(1, 3).requires_grad_(), Picard(**EXACT)
    y, _ = Equilibrium(Tanh(matrix(3, 0.5)), solver, Implicit())(x)
    # A linear loss: its incoming gradient is constant, where a lazy refusal would be silent.
    with pytest.raises(RuntimeError, match=r"Use `Implicit\(order=2\)` for second derivatives"):
        torch.autograd.grad(loss(y), x, create_graph=True)
    y, _ = Equilibrium(Tanh(matrix(3, 0.5)), solver, TWICE)(x)
    (first,) = torch.autograd.grad(loss(y), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not differentiate three times"):
        torch.autograd.grad(first.sum(), x, create_graph=True)


def test_unrolled_differentiates_twice():
    of, inputs = answer(lambda: Tanh(matrix(2, 0.5)), random(1, 2), Picard(max_iter=60), Unrolled())
    assert torch.autograd.gradgradcheck(of, inputs)
