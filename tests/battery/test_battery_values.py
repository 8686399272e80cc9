"""Values and counts of a solve: mates, order, scale, failures, early stops. Dense and ragged."""

import pytest
import torch
from battery_cases import EXACT, SOLVERS, batch, each_kind, each_solver, exact, parts_of, rows
from problems import Affine, affine_solution, matrix, random, solve

from lit_implicit import Anderson, Broyden, Equilibrium, Implicit, Picard, Status

ORDER = [2, 0, 3, 1]


@each_solver
@each_kind
def test_a_permuted_batch_gives_the_permuted_result(kind, solver):
    """States, counts and gradients; the gradient in a shared weight stays."""

    def run(parts):
        operator, x, b = batch(kind, parts)
        z, solution = Equilibrium(operator, solver, Implicit())(x)
        of_gain, of_b = torch.autograd.grad((z**3).sum(), [operator.gain, b])
        return rows(kind, z, parts), rows(kind, of_b, parts), of_gain, solution

    parts = parts_of(kind)
    z, of_b, of_gain, solution = run(parts)
    z2, of_b2, of_gain2, permuted = run([parts[i] for i in ORDER])
    assert len(set(solution.n_iter.tolist())) > 1
    assert permuted.n_iter.tolist() == solution.n_iter[ORDER].tolist()
    assert permuted.adjoint.n_iter.tolist() == solution.adjoint.n_iter[ORDER].tolist()
    for new, old in enumerate(ORDER):
        assert torch.allclose(z2[new], z[old], rtol=1e-13, atol=1e-15)
        assert torch.allclose(of_b2[new], of_b[old], rtol=1e-12, atol=1e-14)
    assert torch.allclose(of_gain2, of_gain, rtol=1e-12)


@each_solver
@each_kind
def test_gradients_of_a_batch_are_those_of_its_samples_alone(kind, solver):
    def run(parts):
        operator, x, b = batch(kind, parts)
        z, solution = Equilibrium(operator, solver, Implicit())(x)
        of_gain, of_b = torch.autograd.grad((z**3).sum(), [operator.gain, b])
        return rows(kind, of_b, parts), of_gain, solution

    parts = parts_of(kind)
    of_b, of_gain, solution = run(parts)
    total = 0.0
    for i, part in enumerate(parts):
        (alone,), share, other = run([part])
        assert torch.allclose(of_b[i], alone, rtol=1e-11, atol=1e-13)
        assert other.n_iter.item() == solution.n_iter[i].item()
        assert other.adjoint.n_iter.item() == solution.adjoint.n_iter[i].item()
        total = total + share
    assert torch.allclose(of_gain, total, rtol=1e-11)


@each_kind
@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("make", [Picard, Anderson, Broyden], ids=["picard", "anderson", "broyden"])
def test_iterates_scale_with_the_problem(kind, scale, make):
    parts = parts_of(kind)
    operator, x, _ = batch(kind, parts)
    z, one = solve(operator, x, make(rtol=1e-8, max_iter=300))
    operator, x, _ = batch(kind, [(a, scale * b) for a, b in parts])
    scaled, other = solve(operator, x, make(rtol=1e-8, max_iter=300))
    assert torch.equal(other.n_iter, one.n_iter)
    assert torch.allclose(scaled / scale, z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("radius", [0.3, 0.9])
def test_acceleration_by_default_is_no_slower_than_plain_iteration(radius):
    operator, x = Affine(matrix(64, radius)), random(1, 64)
    errors = {}
    for solver in (Picard, Anderson, Broyden):
        z, _ = solve(operator, x, solver(rtol=0.0, max_iter=20))
        errors[solver] = (z - affine_solution(operator.a.detach(), x)).norm()
    # Where all are at rounding they are equal.
    floor = 1e-13 * x.norm()
    assert errors[Anderson] <= errors[Picard] + floor
    assert errors[Broyden] <= errors[Picard] + floor


@each_kind
@each_solver
def test_a_nan_harms_no_other_and_its_sample_keeps_its_best_iterate(kind, solver):
    parts = parts_of(kind)
    operator, x, _ = batch(kind, parts)
    sound, alone = solve(operator, x, solver)
    operator, x, _ = batch(kind, parts)
    g, z0 = Equilibrium(operator).bind(x)
    seen, plain = [], type(operator).forward

    def sick(z, c):
        gz = plain(operator, z, c)
        # The slowest sample, the first, is still active at the fifth call.
        first = torch.arange(len(gz)) < (1 if kind == "dense" else len(parts[0][1]))
        first = first[:, None] if kind == "dense" else first
        return torch.where(first & torch.tensor(operator.n_calls >= 5), torch.nan, gz)

    operator.forward = sick
    # Watching keeps the batch whole; what is watched is tested elsewhere.
    with torch.no_grad():
        solution = solver.solve(g, z0, on_iterate=lambda k, z, gz: seen.append((z, gz)))
    assert solution.status.tolist() == [Status.NONFINITE] + [Status.CONVERGED] * 3
    assert solution.n_iter[1:].tolist() == alone.n_iter[1:].tolist()
    states = rows(kind, solution.z, parts)
    for a, b in zip(states[1:], rows(kind, sound, parts)[1:], strict=True):
        assert torch.allclose(a, b, rtol=1e-13, atol=1e-15)
    tried = [(rows(kind, z, parts)[0], rows(kind, gz, parts)[0]) for z, gz in seen[:4]]
    best = min(tried, key=lambda pair: ((pair[1] - pair[0]).norm() / pair[1].norm()).item())
    assert torch.equal(states[0], best[0])


@each_kind
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("max_iter", [1, 2, 3])
def test_a_short_budget_returns_what_it_bought(kind, name, max_iter):
    """The state is the iterate after the last evaluation, never the start."""
    parts = parts_of(kind)
    operator, x, _ = batch(kind, parts)
    settings = {**SOLVERS[name].__dict__, "max_iter": max_iter}
    solver = type(SOLVERS[name])(**settings)
    z, solution = solve(operator, x, solver)
    stream = solver.iterates(*Equilibrium(operator).bind(x))
    with torch.no_grad():
        iterates = [next(stream)[0] for _ in range(max_iter + 1)]
    assert torch.allclose(z, iterates[-1], rtol=1e-14)
    assert solution.n_eval.tolist() == [max_iter] * 4
    if max_iter == 1 and name != "damped":
        assert torch.equal(z, x["b"] if kind == "dense" else x.b)  # G(0)


@each_kind
@each_solver
def test_the_returned_state_is_the_converged_one(kind, solver):
    """Each sample, though they stop at different times, is at its fixed point."""
    parts = parts_of(kind)
    operator, x, _ = batch(kind, parts)
    z, solution = solve(operator, x, solver)
    z_star, _, _ = exact(parts, [b for _, b in parts])
    assert len(set(solution.n_iter.tolist())) > 1
    for found, known in zip(rows(kind, z, parts), z_star, strict=True):
        assert torch.allclose(found, known, rtol=1e-11, atol=1e-12)
    again, second = solve_from(operator, x, z, solver)
    assert (second.relative_residual <= 2 * EXACT["rtol"]).all()
    assert torch.allclose(again, z, rtol=1e-12, atol=1e-13)


def solve_from(operator, x, z0, solver):
    with torch.no_grad():
        return Equilibrium(operator, solver)(x, z0)
