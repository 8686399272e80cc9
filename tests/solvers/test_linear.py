"""Linear solvers over dense and ragged batches of systems, against dense linear algebra."""

import pytest
import torch
from problems import matrix, random

from lit_implicit import GMRES, Dense, Neumann, Ragged, Status

EXACT = {"rtol": 1e-13, "max_iter": 300}


class Systems:
    """Systems A_i u = b_i of different sizes as one batch, dense or ragged; products are counted.

    Dense ones are padded by zeros, and A_i by the identity.
    """

    def __init__(self, parts, ragged):
        self.parts, self.ragged, self.n_products = parts, ragged, 0
        sizes = [len(b) for _, b in parts]
        self.layout = Dense(len(parts))
        self.rows = [(i, slice(0, size)) for i, size in enumerate(sizes)]
        self.rhs = torch.zeros(len(parts), max(sizes), dtype=torch.float64)
        if ragged:
            index = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
            self.layout = Ragged(index, len(parts))
            self.rows = [index == i for i in range(len(parts))]
            self.rhs = torch.zeros(sum(sizes), dtype=torch.float64)
        self.rhs = self.join([b for _, b in parts])

    def join(self, states):
        whole = torch.zeros_like(self.rhs)
        for rows, state in zip(self.rows, states, strict=True):
            whole[rows] = state
        return whole

    def matvec(self, u):
        self.n_products += 1
        return self.join(
            [(a.to(u.dtype) @ u[rows]) for (a, _), rows in zip(self.parts, self.rows, strict=True)]
        ).to(u.dtype)

    def solution(self):
        return self.join([torch.linalg.solve(a, b) for a, b in self.parts])

    def solve(self, solver):
        return solver.solve(self.matvec, self.rhs, self.layout)


def parts(*radii, sizes=(3, 8, 5, 12)):
    return [
        (torch.eye(n).double() - matrix(n, radius, seed=n), random(n, seed=n))
        for n, radius in zip(sizes, radii, strict=False)
    ]


PARTS = parts(0.5, 0.9, 3.0, 10.0)  # the last two are no contractions: GMRES needs none
each_layout = pytest.mark.parametrize("ragged", [False, True], ids=["dense", "ragged"])


@each_layout
@pytest.mark.parametrize("terms", [1, 2, 5])
def test_neumann_is_its_finite_series(ragged, terms):
    systems = Systems(PARTS, ragged)
    solution = systems.solve(Neumann(terms))
    series = [
        sum(torch.linalg.matrix_power(torch.eye(len(b)) - a, i) @ b for i in range(terms))
        for a, b in PARTS
    ]
    assert torch.allclose(solution.z, systems.join(series), rtol=1e-12, atol=1e-13)
    assert systems.n_products == terms - 1
    assert solution.n_eval.tolist() == [terms - 1] * 4
    assert solution.n_iter.tolist() == [terms] * 4
    assert not solution.converged.any()


@each_layout
@pytest.mark.parametrize(
    ("restart", "systems"), [(20, PARTS), (12, PARTS), (4, parts(0.5, 0.9, 0.8, 0.95))]
)
def test_gmres_solves_as_dense_algebra_does(ragged, restart, systems):
    systems = Systems(systems, ragged)
    solution = systems.solve(GMRES(restart, **EXACT))
    # A residual of 1e-13 times a condition of at most a few hundred.
    assert torch.allclose(solution.z, systems.solution(), rtol=1e-10, atol=1e-11)
    assert solution.converged.all()
    assert (solution.relative_residual <= 1e-13).all()


@each_layout
def test_gmres_ends_after_as_many_products_as_unknowns(ragged):
    systems = Systems(PARTS, ragged)
    solution = systems.solve(GMRES(20, **EXACT))
    assert (solution.n_iter <= torch.tensor([3, 8, 5, 12])).all()
    assert systems.n_products == solution.n_eval.max().item() == solution.n_iter.max().item()


@each_layout
@pytest.mark.parametrize("restart", [4, 20])
def test_a_system_does_not_see_its_batch_mates(ragged, restart):
    solver = GMRES(restart, rtol=1e-8, max_iter=60)
    together = Systems(PARTS, ragged)
    solution = together.solve(solver)
    for i, part in enumerate(PARTS):
        alone = Systems([part], ragged).solve(solver)
        assert alone.n_iter.item() == solution.n_iter[i].item()
        assert alone.n_eval.item() == solution.n_eval[i].item()
        assert alone.status.item() == solution.status[i].item()
        u = solution.z[together.rows[i]].flatten()
        assert torch.allclose(u, alone.z.flatten(), rtol=1e-9, atol=1e-12)


def test_gmres_residuals_are_the_least_over_the_krylov_space():
    (a, b), k = PARTS[3], 6
    krylov = torch.stack([torch.linalg.matrix_power(a, i) @ b for i in range(k)], 1)
    basis = torch.linalg.qr(krylov).Q
    best = basis @ torch.linalg.lstsq(a @ basis, b[:, None]).solution[:, 0]
    solution = Systems([PARTS[3]], ragged=False).solve(GMRES(rtol=0.0, max_iter=k))
    assert torch.allclose(solution.z[0], best, rtol=1e-8)
    expected = (b - a @ best).norm() / b.norm()
    assert torch.allclose(solution.relative_residual[0], expected, rtol=1e-6)
    assert solution.n_eval.item() == k
    assert solution.status.item() == Status.MAX_ITER


def test_each_restart_costs_one_product_more():
    systems = Systems([PARTS[3]], ragged=False)
    solution = systems.solve(GMRES(4, rtol=0.0, max_iter=10))
    assert solution.n_iter.item() == 10
    assert systems.n_products == solution.n_eval.item() == 12


@each_layout
def test_gmres_stops_where_the_krylov_space_ends(ragged):
    # The right-hand side is an eigenvector of the first, and A = I in the second.
    eigen = (torch.diag(torch.tensor([3.0, 1, 2]).double()), torch.tensor([1.0, 0, 0]).double())
    identity = (torch.eye(3).double(), random(3))
    zero = (matrix(3, 0.5), torch.zeros(3).double())
    solution = Systems([eigen, identity, zero], ragged).solve(GMRES(rtol=0.0, max_iter=9))
    assert solution.n_iter.tolist() == [1, 1, 0]
    assert solution.converged.all()
    expected = Systems([eigen, identity, zero], ragged).solution()
    assert torch.allclose(solution.z, expected, rtol=1e-14)


def test_a_singular_system_ends_without_an_answer_and_harms_no_other():
    singular = (torch.diag(torch.tensor([1.0, 0, 0]).double()), torch.ones(3).double())
    sound = PARTS[0]
    solution = Systems([singular, sound], ragged=False).solve(GMRES(2, rtol=1e-10, max_iter=40))
    assert solution.status.tolist() == [Status.MAX_ITER, Status.CONVERGED]
    assert solution.z.isfinite().all()
    assert torch.allclose(solution.z[1], torch.linalg.solve(*sound), rtol=1e-8)


@each_layout
@pytest.mark.parametrize("solver", [GMRES(rtol=1e-10), Neumann(4)], ids=["gmres", "neumann"])
@pytest.mark.parametrize("call", [1, 3])
def test_a_nan_in_one_system_harms_no_other(ragged, solver, call):
    def broken(u):
        product = systems.matvec(u)
        if systems.n_products >= call:
            product[systems.rows[1]] = float("nan")
        return product

    systems = Systems(PARTS, ragged)
    sound = Systems(PARTS, ragged).solve(solver)
    solution = solver.solve(broken, systems.rhs, systems.layout)
    assert solution.failed.tolist() == [False, True, False, False]
    assert solution.z.isfinite().all()
    for i in (0, 2, 3):
        u = solution.z[systems.rows[i]]
        assert torch.allclose(u, sound.z[systems.rows[i]], rtol=1e-12, atol=1e-14)
        assert solution.n_iter[i] == sound.n_iter[i]


def test_a_right_hand_side_that_is_not_finite_fails_alone():
    systems = Systems(PARTS[:2], ragged=False)
    systems.rhs[0, 0] = float("inf")
    solution = systems.solve(GMRES(rtol=1e-10))
    assert solution.status.tolist() == [Status.NONFINITE, Status.CONVERGED]
    assert solution.z[0].tolist() == [0.0] * 8


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_gmres_does_not_depend_on_scale(scale):
    one = Systems(PARTS, ragged=False)
    scaled = Systems([(a, scale * b) for a, b in PARTS], ragged=False)
    solver = GMRES(5, rtol=1e-6)
    a, b = one.solve(solver), scaled.solve(solver)
    assert torch.equal(a.n_iter, b.n_iter)
    assert torch.allclose(a.z, b.z / scale, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gmres_runs_in_low_precision(dtype):
    systems = Systems(PARTS[:2], ragged=False)
    expected = systems.solution()
    solution = GMRES(rtol=1e-2).solve(systems.matvec, systems.rhs.to(dtype), systems.layout)
    assert solution.z.dtype == dtype
    error = (solution.z.double() - expected).norm() / expected.norm()
    assert error < 50 * torch.finfo(dtype).eps + 1e-1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Neumann(0), "terms` must be at least 1, got 0. 1 is Jacobian-free"),
        (lambda: GMRES(0), "restart` must be at least 1, got 0"),
        (lambda: GMRES(rtol=-1.0), "GMRES.rtol` must be at least 0, got -1.0"),
        (lambda: GMRES(max_iter=0), "GMRES.max_iter` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
