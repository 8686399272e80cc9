"""A solve goes on with the samples still active only: the same results, from fewer rows of G."""

import pytest
import torch
from problems import Affine, RaggedAffine, SparseSystems, matrix, random, systems

from lit_implicit import Anderson, Broyden, Equilibrium, Picard, Status

SOLVERS = {
    "picard": Picard(rtol=1e-10, max_iter=400),
    "damped": Picard(0.7, rtol=1e-10, max_iter=400),
    "anderson": Anderson(rtol=1e-10, max_iter=400),
    "broyden": Broyden(3, rtol=1e-10, max_iter=400),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


class Rates(Affine):
    """z -> rate A z + b with a rate for each sample; it notes how many rows it is given."""

    def __init__(self):
        super().__init__(matrix(5, 1.0))
        self.rows = []

    def init_state(self, c, generator=None):
        return torch.zeros_like(c["b"])

    def forward(self, z, c):
        self.rows.append(len(z))
        gz = c["rate"][:, None] * (z @ self.a.T) + c["b"]
        # Samples fail once their state is no longer the start: by NaN, or by growth.
        late = (z != 0).any(1)
        gz = torch.where((late & (c["fate"] == 1))[:, None], float("nan"), gz)
        return torch.where((late & (c["fate"] == 2))[:, None], 1e9 * z, gz)


def skewed(n, fates=()):
    """Most samples contract at once, the last hardly."""
    rate = torch.full((n,), 0.01).double()
    rate[n // 2 :], rate[-2:] = 0.5, torch.tensor([0.9, 0.97]).double()
    fate = torch.zeros(n, dtype=torch.int64)
    for i, kind in fates:
        fate[i] = kind
    return {"b": random(n, 5), "rate": rate, "fate": fate}


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
