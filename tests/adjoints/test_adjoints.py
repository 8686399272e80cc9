"""Gradients against dense linear algebra, deep unrolling, finite series and finite differences."""

import pytest
import torch
from problems import (
    NAMES,
    PROBLEMS,
    Affine,
    CountedProducts,
    RaggedAffine,
    Tanh,
    matrix,
    random,
    systems,
)

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

EXACT = {"rtol": 1e-13, "max_iter": 600}
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)


def gradients(operator, x, solver, adjoint):
    """Gradients of a nonlinear loss in the parameters."""
    y, solution = Equilibrium(operator, solver, adjoint)(x)
    loss = (y.sin() * torch.arange(1, 1 + y.numel()).reshape(y.shape)).sum()
    return [*torch.autograd.grad(loss, list(operator.parameters()))], solution


def assert_close(a, b, rtol=1e-9):
    for p, q in zip(a, b, strict=True):
        assert torch.allclose(p, q, rtol=rtol, atol=rtol * q.abs().max().item())


@each_problem
@pytest.mark.parametrize("solver", [Picard(**EXACT), Anderson(**EXACT)], ids=["picard", "anderson"])
@pytest.mark.parametrize(
    "backward",
    [None, Picard(**EXACT), Anderson(8, **EXACT), Broyden(**EXACT), GMRES(**EXACT)],
    ids=["same", "picard", "anderson", "broyden", "gmres"],
)
def test_implicit_gradient_matches_deep_unrolling(problem, solver, backward):
    exact, solution = gradients(problem.make(), problem.x, solver, Implicit(backward))
    unrolled, _ = gradients(problem.make(), problem.x, Picard(max_iter=400), Unrolled())
    assert_close(exact, unrolled)
    assert (solution.adjoint_relative_residual <= 1e-13).all()


def test_implicit_gradient_matches_dense_linear_algebra():
    a, x, v = matrix(5, 0.9), random(1, 5), random(1, 5, seed=9)
    operator = Affine(a.clone())
    x.requires_grad_()
    y, _ = Equilibrium(operator, Anderson(**EXACT), Implicit())(x)
    of_a, of_x = torch.autograd.grad(y, [operator.a, x], v)
    u = torch.linalg.solve((torch.eye(5) - a).T.double(), v[0])
    assert torch.allclose(of_x[0], u, rtol=1e-10)
    assert torch.allclose(of_a, torch.outer(u, y[0].detach()), rtol=1e-10)


@each_problem
def test_training_and_evaluation_give_the_same_answer(problem):
    layer = Equilibrium(problem.make(), Anderson(), Implicit())
    trained, _ = layer(problem.x)
    with torch.no_grad():
        evaluated, _ = layer(problem.x)
    assert torch.equal(trained, evaluated)


@pytest.mark.parametrize("make", [lambda: Affine(matrix(4, 0.8)), lambda: Tanh(matrix(4, 0.8))])
@pytest.mark.parametrize("adjoint", [Implicit(), Unrolled()], ids=["implicit", "unrolled"])
def test_gradcheck(make, adjoint):
    operator, x = make(), random(2, 4)

    def answer(a, x):
        # The matrix reaches G as a captured tensor, not as a parameter.
        del operator.a
        operator.a = a
        return Equilibrium(operator, Picard(rtol=1e-14, max_iter=300), adjoint)(x)[0]

    operator._parameters.pop("a")
    operator.a = matrix(4, 0.8)
    inputs = (matrix(4, 0.8).requires_grad_(), x.requires_grad_())
    assert torch.autograd.gradcheck(answer, inputs)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_jacobian_free_is_its_finite_neumann_series(steps):
    a, x, v = matrix(5, 0.9), random(1, 5), random(1, 5, seed=9)
    x.requires_grad_()
    y, _ = Equilibrium(Affine(a.clone()), Picard(**EXACT), JacobianFree(steps))(x)
    (of_x,) = torch.autograd.grad(y, x, v)
    series = sum(torch.linalg.matrix_power(a.T, i) @ v[0] for i in range(steps))
    assert torch.allclose(of_x[0], series, rtol=1e-12)


class Counted(Affine):
    def forward(self, z, c):
        return CountedProducts.apply(super().forward(z, c))


def count_products(solver, a, x, v):
    """The gradient in x, the number of vector-Jacobian products behind it, and the record."""
    x = x.clone().requires_grad_()
    y, solution = Equilibrium(Counted(a.clone()), Picard(**EXACT), Implicit(solver))(x)
    CountedProducts.n_calls = 0
    (of_x,) = torch.autograd.grad(y, x, v)
    # The last one brings u to the leaves.
    return of_x, CountedProducts.n_calls - 1, solution.adjoint


@pytest.mark.parametrize("terms", [1, 2, 5])
def test_neumann_gradient_is_its_finite_series(terms):
    a, x, v = matrix(5, 0.9), random(2, 5), random(2, 5, seed=9)
    of_x, n_products, _ = count_products(Neumann(terms), a, x, v)
    series = sum(v @ torch.linalg.matrix_power(a, i) for i in range(terms))
    assert torch.allclose(of_x, series, rtol=1e-12)
    assert n_products == terms - 1


def test_neumann_of_one_term_is_jacobian_free():
    problem = PROBLEMS[1]
    solver = Picard(**EXACT)
    one, _ = gradients(problem.make(), problem.x, solver, Implicit(Neumann(1)))
    jacobian_free, _ = gradients(problem.make(), problem.x, solver, JacobianFree())
    assert_close(one, jacobian_free)


def test_gmres_gradient_takes_as_many_products_as_unknowns():
    a, x, v = matrix(6, 0.95), random(3, 6), random(3, 6, seed=9)
    of_x, n_products, record = count_products(GMRES(rtol=1e-12), a, x, v)
    exact = torch.linalg.solve((torch.eye(6).double() - a).T, v.T).T
    assert torch.allclose(of_x, exact, rtol=1e-9)
    assert n_products == record.n_iter.max().item() <= 6
    assert record.status.tolist() == [0] * 3


def test_gmres_solves_an_adjoint_system_that_is_no_contraction():
    a = torch.diag(torch.tensor([-3.0, 0.5, 2.0]).double())
    x, v = random(1, 3).requires_grad_(), random(1, 3, seed=9)
    z_star = (x / (1 - a.diagonal())).detach()
    layer = Equilibrium(Affine(a.clone()), Picard(rtol=1e-12), Implicit(GMRES(rtol=1e-12)))
    y, solution = layer(x, z_star)
    (of_x,) = torch.autograd.grad(y, x, v)
    assert torch.allclose(of_x, v / (1 - a.diagonal()), rtol=1e-10)
    assert solution.adjoint.status.tolist() == [0]


def test_unrolled_refuses_steps_that_autograd_cannot_follow():
    layer = Equilibrium(Affine(matrix(3, 0.5)), Broyden(), Unrolled())
    with pytest.raises(ValueError, match="cannot differentiate the steps of `Broyden\\("):
        layer(random(1, 3))


def test_phantom_gradient_is_its_damped_series():
    a, x, v, beta, steps = matrix(5, 0.9), random(1, 5), random(1, 5, seed=9), 0.8, 3
    x.requires_grad_()
    y, _ = Equilibrium(Affine(a.clone()), Picard(**EXACT), JacobianFree(steps, beta))(x)
    (of_x,) = torch.autograd.grad(y, x, v)
    damped = (1 - beta) * torch.eye(5).double() + beta * a
    series = sum(beta * torch.linalg.matrix_power(damped.T, i) @ v[0] for i in range(steps))
    assert torch.allclose(of_x[0], series, rtol=1e-12)


@pytest.mark.parametrize("last", [1, 3, 6, None])
def test_unrolled_takes_all_steps_and_differentiates_the_last(last):
    a, x, v, max_iter = matrix(5, 0.9), random(1, 5), random(1, 5, seed=9), 6
    x.requires_grad_()
    operator = Affine(a.clone())
    y, solution = Equilibrium(operator, Picard(max_iter=max_iter), Unrolled(last))(x)
    (of_x,) = torch.autograd.grad(y, x, v)
    powers = [torch.linalg.matrix_power(a, i) for i in range(max_iter)]
    assert torch.allclose(y[0], sum(p @ x[0] for p in powers), rtol=1e-12)
    assert torch.allclose(of_x[0], sum(p.T @ v[0] for p in powers[: last or max_iter]), rtol=1e-12)
    assert operator.n_calls == max_iter == solution.n_iter.item()


def test_unrolled_differentiates_anderson():
    problem = PROBLEMS[1]
    exact, _ = gradients(problem.make(), problem.x, Picard(**EXACT), Implicit())
    unrolled, _ = gradients(problem.make(), problem.x, Anderson(max_iter=40), Unrolled())
    assert_close(unrolled, exact, rtol=1e-8)


@pytest.mark.parametrize(
    ("adjoint", "tracked"),
    [(Implicit(), 1), (Implicit(order=2), 2), (JacobianFree(2), 2), (Unrolled(3), 3)],
)
def test_number_of_tracked_calls(adjoint, tracked):
    class Counting(Affine):
        n_tracked = 0

        def forward(self, z, c):
            self.n_tracked += torch.is_grad_enabled()
            return super().forward(z, c)

    operator = Counting(matrix(4, 0.5))
    y, solution = Equilibrium(operator, Picard(max_iter=10), adjoint)(random(2, 4))
    y.sum().backward()
    assert operator.n_tracked == tracked
    expected = 10 if isinstance(adjoint, Unrolled) else solution.n_iter.max().item() + tracked
    assert operator.n_calls == expected


def test_evaluation_builds_no_graph_and_calls_g_no_more_than_it_counts():
    operator = Affine(matrix(4, 0.5))
    with torch.no_grad():
        y, solution = Equilibrium(operator, Picard(), Implicit())(random(2, 4))
    assert not y.requires_grad
    assert operator.n_calls == solution.n_eval.max().item()


class Broken(Affine):
    """A sample marked by a huge first entry becomes NaN at once, through the shared matrix."""

    def forward(self, z, c):
        gz = super().forward(z, c)
        return gz * torch.where(c[:, :1] > 50, float("nan"), 1.0)


@pytest.mark.parametrize(
    "adjoint", [Implicit(), JacobianFree(2), Unrolled()], ids=["implicit", "jfb", "unrolled"]
)
def test_a_failed_sample_leaves_all_gradients_as_without_it(adjoint):
    a, x = matrix(4, 0.5), random(3, 4)
    x[1, 0] = 100.0
    solver = Anderson(rtol=1e-12, max_iter=60)

    def gradient(operator, x):
        y, solution = Equilibrium(operator, solver, adjoint)(x)
        loss = (y**2).sum(1)[~solution.failed].sum()
        return torch.autograd.grad(loss, operator.a)[0], y, solution

    with_it, y, solution = gradient(Broken(a.clone()), x)
    without, y_sound, _ = gradient(Affine(a.clone()), x[[0, 2]])
    assert solution.failed.tolist() == [False, True, False]
    assert torch.allclose(with_it, without, rtol=1e-12)
    assert torch.allclose(y[[0, 2]], y_sound, rtol=1e-12)
    assert y.isfinite().all()


@pytest.mark.parametrize("adjoint", [Implicit(), Unrolled()], ids=["implicit", "unrolled"])
def test_ragged_gradients_are_those_of_each_system_alone(adjoint):
    parts = [(matrix(n, 0.8, seed=n), random(n, seed=n)) for n in (3, 6, 2)]
    solver = Anderson(rtol=1e-13, max_iter=100)

    def gradient(*parts):
        operator = RaggedAffine(0.9)
        y, solution = Equilibrium(operator, solver, adjoint)(systems(*parts))
        (y**3).sum().backward()
        return operator.gain.grad, solution

    together, solution = gradient(*parts)
    alone = [gradient(part) for part in parts]
    assert torch.allclose(together, sum(g for g, _ in alone), rtol=1e-11)
    if solution.adjoint.n_iter is not None:
        counts = torch.cat([s.adjoint.n_iter for _, s in alone])
        assert torch.equal(solution.adjoint.n_iter, counts)


def test_an_adjoint_system_that_is_not_solved_is_reported():
    x = random(2, 4)
    y, solution = Equilibrium(
        Affine(matrix(4, 0.95)), Picard(**EXACT), Implicit(Picard(rtol=1e-12, max_iter=2))
    )(x)
    assert solution.adjoint_relative_residual is None
    y.sum().backward()
    assert (solution.adjoint_relative_residual > 1e-3).all()
    assert solution.adjoint.status.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JacobianFree(0), "steps` must be at least 1, got 0"),
        (lambda: JacobianFree(damping=0.0), r"damping` must lie in \(0, 1\], got 0.0"),
        (lambda: Unrolled(0), "last` must be at least 1, got 0"),
        (lambda: Implicit(order=3), "order` must be 1 or 2, got 3. Use `Unrolled`"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_adjoint_does_not_take_the_forwards_absolute_tolerance():
    # Gradients of a mean are small: 1e-3, in units of the state, would stop at once.
    def gradient(atol):
        operator = Tanh(matrix(5, 0.9))
        layer = Equilibrium(operator, Picard(rtol=1e-10, atol=atol, max_iter=500), Implicit())
        y, solution = layer(random(2, 5))
        (0.1 * y.mean()).backward()
        return operator.a.grad, solution

    exact, _ = gradient(0.0)
    loose, solution = gradient(1e-5)
    assert (solution.adjoint_relative_residual <= 1e-10).all()
    assert torch.allclose(loose, exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_adjoint_does_not_depend_on_the_scale_of_the_loss(scale):
    def gradient(scale):
        operator = Affine(matrix(5, 0.9))
        y, solution = Equilibrium(operator, Anderson(rtol=1e-6, max_iter=99), Implicit())(
            random(2, 5)
        )
        (scale * y.sum()).backward()
        return operator.a.grad, solution.adjoint

    one, record = gradient(1.0)
    scaled, scaled_record = gradient(scale)
    assert torch.equal(record.n_iter, scaled_record.n_iter)
    assert torch.allclose(record.relative_residual, scaled_record.relative_residual, rtol=1e-6)
    assert torch.allclose(scaled / scale, one, rtol=1e-12)


def test_a_diverging_adjoint_gives_no_gradient_and_says_so():
    class Expanding(Affine):
        """z* = 0 is a fixed point that the solve starts from; around it, G expands tenfold."""

        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            return z @ self.a.T * torch.where(c > 0, 10.0, 0.1) + 0 * c

    operator = Expanding(torch.eye(2).double())
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double().requires_grad_()
    z0 = torch.zeros(2, 2).double()
    y, solution = Equilibrium(operator, Picard(max_iter=50), Implicit())(x, z0)
    assert solution.converged.all()
    y.sum().backward()
    assert solution.adjoint.status.tolist() == [2, 0]
    assert operator.a.grad.isfinite().all()


def test_the_record_of_the_adjoint_is_that_of_the_whole_batch():
    x = random(3, 4)
    x[1, 0] = 100.0
    y, solution = Equilibrium(Broken(matrix(4, 0.5)), Anderson(), Implicit())(x)
    y[[0, 2]].sum().backward()
    record = solution.adjoint
    assert record.n_iter[1] == 0
    assert record.relative_residual[1].isnan()
    assert (record.n_iter[[0, 2]] > 0).all()
    assert record.status.tolist() == [0, 3, 0]


def test_unrolled_says_what_diverged_and_what_converged():
    class Growing(Affine):
        def forward(self, z, c):
            return torch.where(c[:, :1] > 50, 3 * z, super().forward(z, c)) + 0 * c

    x = random(2, 4)
    x[1, 0] = 100.0
    operator = Growing(matrix(4, 0.5))
    z0 = torch.ones(2, 4).double()
    y, solution = Equilibrium(operator, Picard(max_iter=40), Unrolled())(x, z0)
    assert solution.status.tolist() == [0, 2]  # CONVERGED, DIVERGED
    assert torch.equal(y[1], z0[1])  # all iterates are equally bad; the first stays
    assert (solution.relative_residual <= 1e-4)[0]
    y.sum().backward()
    assert operator.a.grad.isfinite().all()


def test_a_frozen_operator_costs_no_backward_solve():
    operator = Affine(matrix(4, 0.5)).requires_grad_(False)
    y, _ = Equilibrium(operator, Picard(), Implicit())(random(2, 4))
    assert not y.requires_grad


def test_gradients_flow_twice_through_a_retained_graph():
    operator = Affine(matrix(4, 0.5))
    y, _ = Equilibrium(operator, Picard(**EXACT), Implicit())(random(2, 4))
    loss = (y**2).sum()
    (first,) = torch.autograd.grad(loss, operator.a, retain_graph=True)
    (second,) = torch.autograd.grad(loss, operator.a)
    assert torch.equal(first, second)


def test_gradients_under_autocast_are_close_to_those_without():
    def gradient(autocast):
        operator = Affine(matrix(4, 0.5).float())
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y, solution = Equilibrium(operator, Anderson(rtol=1e-2), Implicit())(
                random(2, 4).float()
            )
        (y**2).sum().backward()
        return operator.a.grad, solution

    low, solution = gradient(True)
    full, _ = gradient(False)
    assert solution.converged.all()
    assert (low - full).norm() <= 0.05 * full.norm()  # bfloat16 has 8 bits


@pytest.mark.parametrize("last", [None, 2])
@pytest.mark.parametrize("max_iter", [30, 60])
def test_unrolled_anderson_is_sound_long_after_it_converged(max_iter, last):
    """In float32 its residual differences are then noise, and so would be their derivative."""

    def gradient(solver, last):
        operator = Tanh(matrix(8, 0.5).float())
        y, _ = Equilibrium(operator, solver, Unrolled(last))(random(16, 8).float())
        (y**2).mean().backward()
        return operator.a.grad

    expected = gradient(Picard(max_iter=max_iter), last)
    found = gradient(Anderson(max_iter=max_iter), last)
    assert (found - expected).norm() <= 1e-3 * expected.norm()
