"""A solve goes on with the samples still active only: the same results, from fewer rows of G."""

from dataclasses import replace

import pytest
import torch
from problems import RaggedAffine, SparseSystems, matrix, random, systems
from solver_rates import Rates, rates

from lit_implicit import Anderson, Auto, Broyden, Equilibrium, Picard, Status
from lit_implicit.solvers import base
from lit_implicit.solvers.progress import Progress

SOLVERS = {
    "picard": Picard(rtol=1e-10, max_iter=400),
    "damped": Picard(0.7, rtol=1e-10, max_iter=400),
    "anderson": Anderson(rtol=1e-10, max_iter=400),
    "type I": Anderson(4, type="I", rtol=1e-10, max_iter=400),
    "auto": Auto(rtol=1e-10, max_iter=400),
    "broyden": Broyden(3, rtol=1e-10, max_iter=400),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


def skewed(n, fates=()):
    """Most samples contract at once, the last hardly."""
    return rates([0.01] * (n // 2) + [0.5] * (n - n // 2 - 2) + [0.9, 0.97], fates)


def run(x, solver, operator=None, on_iterate=None):
    operator = operator or Rates()
    g, z0 = Equilibrium(operator).bind(x)
    return solver.solve(g, z0, on_iterate=on_iterate), operator


@each_solver
@pytest.mark.parametrize("fates", [(), [(0, 1), (9, 2), (15, 1)]], ids=["sound", "failures"])
def test_narrowed_solve_equals_the_whole_one_and_solves_alone(solver, fates):
    x = skewed(16, fates)
    narrowed, operator = run(x, solver)
    whole, unnarrowed = run(x, solver, on_iterate=lambda k, z, gz: None)
    for i in range(16):
        alone, _ = run({key: value[i : i + 1] for key, value in x.items()}, solver)
        for other, row in ((whole, i), (alone, 0)):
            assert torch.allclose(narrowed.z[i], other.z[row], rtol=1e-11, atol=1e-13)
            assert narrowed.n_iter[i] == other.n_iter[row]
            assert narrowed.n_eval[i] == other.n_eval[row]
            assert narrowed.status[i] == other.status[row]
            ratio = other.relative_residual[row]
            assert torch.allclose(narrowed.relative_residual[i], ratio, rtol=1e-2, equal_nan=True)
    expected = {1: Status.NONFINITE, 2: Status.DIVERGED}
    for i, kind in fates:
        assert narrowed.status[i] == expected[kind]
        assert narrowed.z[i].isfinite().all()
    assert len(operator.rows) == len(unnarrowed.rows) == narrowed.n_iter.max()
    assert set(unnarrowed.rows) == {16}


@each_solver
def test_g_is_given_less_than_twice_the_rows_it_needs(solver):
    solver = (
        replace(solver, depth=3) if isinstance(solver, Auto) else solver
    )  # else it ends too soon
    solution, operator = run(skewed(64), solver)
    for k, rows in enumerate(operator.rows):
        active = int((solution.n_eval > k).sum())
        assert active <= rows < 2 * active
    assert sum(operator.rows) < 0.75 * 64 * len(operator.rows)
    assert operator.rows == sorted(operator.rows, reverse=True)
    assert operator.rows[-1] <= 2  # the last two may end together


@each_solver
def test_ragged_batches_are_narrowed_too(solver):
    sizes, radii = (3, 7, 2, 5, 4, 6, 3, 8), (0.01, 0.01, 0.9, 0.01, 0.5, 0.5, 0.01, 0.95)
    parts = [
        (matrix(n, r, seed=n), random(n, seed=10 + n)) for n, r in zip(sizes, radii, strict=True)
    ]

    class Noting(RaggedAffine):
        def forward(self, z, c: SparseSystems):
            nodes.append(len(z))
            return super().forward(z, c)

    nodes = []
    x = systems(*parts)
    narrowed, _ = run(x, solver, Noting())
    assert nodes[0] == sum(sizes)
    assert nodes[-1] < sum(sizes) / 2
    for i, part in enumerate(parts):
        alone, _ = run(systems(part), solver, RaggedAffine())
        assert torch.allclose(narrowed.z[x.index == i], alone.z, rtol=1e-11, atol=1e-13)
        assert narrowed.n_iter[i] == alone.n_iter[0]
        assert narrowed.status[i] == alone.status[0]


def test_a_budget_that_ends_while_narrowed_is_said():
    solution, operator = run(skewed(16), Picard(rtol=1e-10, max_iter=12))
    assert operator.rows[-1] < 16
    assert solution.status.tolist() == [Status.CONVERGED] * 8 + [Status.MAX_ITER] * 8
    assert solution.n_iter[8:].tolist() == [12] * 8


def test_on_iterate_sees_the_whole_batch_with_stopped_samples_frozen():
    seen = []
    solution, _ = run(
        skewed(8), Picard(rtol=1e-10, max_iter=400), on_iterate=lambda k, z, gz: seen.append(z)
    )
    assert {len(z) for z in seen} == {8}
    for z in seen[int(solution.n_iter[0]) :]:
        assert torch.equal(z[0], solution.z[0])


def test_the_adjoint_system_is_not_narrowed():
    # One graph serves its batch; samples whose counts differ must not break it.
    x = skewed(8)
    operator = Rates()
    y, solution = Equilibrium(operator, Anderson(rtol=1e-10, max_iter=200))(x)
    y.sum().backward()
    counts = solution.adjoint.n_iter
    assert counts.min() < counts.max() / 2
    assert solution.adjoint.status.tolist() == [Status.CONVERGED] * 8


@each_solver
@pytest.mark.parametrize("fates", [(), [(0, 1), (9, 2), (15, 1)]], ids=["sound", "failures"])
@pytest.mark.parametrize("every", [4, 7])
def test_looking_less_often_changes_no_answer(monkeypatch, solver, fates, every):
    """As on a GPU, where a look waits: some iterations more, the same answers and counts."""
    looks, take = [], Progress.take
    monkeypatch.setattr(Progress, "take", lambda self, steps: (looks.append(1), take(self, steps)))
    expected, often = run(skewed(16, fates), solver)
    n_often = len(looks)
    monkeypatch.setattr(base, "looks_every", lambda device: every)
    found, seldom = run(skewed(16, fates), solver)
    assert n_often == len(often.rows)
    assert len(looks) - n_often == -(-len(seldom.rows) // every)
    assert 0 <= len(seldom.rows) - len(often.rows) < every
    assert torch.allclose(found.z, expected.z, rtol=1e-11, atol=1e-13)
    for name in ("n_iter", "n_eval", "status"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    a, b = found.relative_residual, expected.relative_residual
    assert torch.allclose(a, b, rtol=1e-2, equal_nan=True)


@pytest.mark.parametrize("every", [1, 4])
def test_a_budget_that_ends_between_looks_is_kept(monkeypatch, every):
    monkeypatch.setattr(base, "looks_every", lambda device: every)
    solution, operator = run(skewed(8), Picard(rtol=0.0, max_iter=6))
    assert solution.n_iter.tolist() == [6] * 8
    assert len(operator.rows) == 6
