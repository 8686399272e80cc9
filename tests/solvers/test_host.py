"""Small solves on a CPU step with NumPy arrays: the answers are those of steps with tensors."""

import tracemalloc

import numpy as np
import pytest
import torch
from problems import Affine, Tanh, matrix, random
from solver_rates import Rates, rates
from torch.utils._python_dispatch import TorchDispatchMode

from lit_implicit import Anderson, Auto, Broyden, Equilibrium, Picard, Status
from lit_implicit.errors import OperatorError
from lit_implicit.layout import Dense
from lit_implicit.operator import AbstractMap, FixedPointMap
from lit_implicit.solvers import host
from lit_implicit.solvers.algebras import ARRAYS, TENSORS
from lit_implicit.solvers.host import HostRows, host_rows

SETTINGS = {"rtol": 1e-9, "max_iter": 300}
SOLVERS = {
    "picard": Picard(**SETTINGS),
    "damped": Picard(0.7, **SETTINGS),
    "anderson": Anderson(**SETTINGS),
    "mixing": Anderson(3, 0.6, **SETTINGS),
    "type I": Anderson(4, type="I", **SETTINGS),
    "auto": Auto(**SETTINGS),
    "broyden": Broyden(**SETTINGS),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


@pytest.fixture
def both(monkeypatch):
    """Return the solutions of a solve with arrays, which it must take, and with tensors."""
    taken, evaluation = [], HostRows.evaluation

    def noted(self, z, gz):
        taken.append(1)
        return evaluation(self, z, gz)

    monkeypatch.setattr(HostRows, "evaluation", noted)

    def solved(make, x, solver, z0=None):
        with torch.no_grad():
            _, arrays = Equilibrium(make(), solver)(x, z0)
            n_taken = len(taken)
            with monkeypatch.context() as patch:
                patch.setattr(host, "_MOST_NUMBERS", 0)
                _, tensors = Equilibrium(make(), solver)(x, z0)
        assert n_taken > 0
        assert len(taken) == n_taken
        return arrays, tensors

    return solved


def agree(a, b, rtol=1e-11):
    """Sums are taken in another order: nothing else differs."""
    assert torch.allclose(a.z, b.z, rtol=rtol, atol=rtol * b.z.abs().max().item())
    for name in ("n_iter", "n_eval", "status"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.z.shape == b.z.shape
    assert a.z.dtype == b.z.dtype
    assert a.relative_residual.dtype == b.relative_residual.dtype


@each_solver
@pytest.mark.parametrize("make", [Affine, Tanh])
def test_arrays_and_tensors_find_the_same(both, solver, make):
    agree(*both(lambda: make(matrix(12, 0.9)), random(5, 12), solver))


@each_solver
def test_failures_and_narrowing_are_the_same(both, solver):
    x = rates([0.01] * 8 + [0.5] * 6 + [0.9, 0.97], [(0, 1), (9, 2), (15, 1)])
    arrays, tensors = both(Rates, x, solver)
    agree(arrays, tensors)
    assert (arrays.status >= Status.DIVERGED).sum() == 3


@pytest.mark.parametrize("solver", [Anderson(**SETTINGS), Broyden(4, **SETTINGS)])
def test_long_states_are_the_same(both, solver):
    """Beyond the length at which products with a history are left to other code."""
    n = 3000

    class Diagonal(Affine):
        def forward(self, z, c):
            return z * self.a + c

    assert 4 * n > host._LONG_PRODUCT > n
    agree(*both(lambda: Diagonal(torch.linspace(-0.3, 0.9, n).double()), random(3, n), solver))


@pytest.mark.parametrize(("length", "taken"), [(host._LONG_PRODUCT, True), (16384, False)])
def test_no_product_is_one_that_blas_shares_among_its_threads(length, taken):
    z = torch.zeros(4, length)
    assert (host_rows(Dense(4), z, z) is not None) == taken


@pytest.mark.parametrize(("n", "taken"), [(512, True), (513, False), (131072, False)])
def test_many_samples_are_left_to_torch(n, taken):
    z = torch.zeros(n, 1)
    assert (host_rows(Dense(n), z, z) is not None) == taken


def test_samples_are_dropped_where_the_default_device_is_another():
    x = rates([0.01] * 6 + [0.9, 0.97])
    g, z0 = Equilibrium(Rates()).bind(x)
    expected = Picard(**SETTINGS).solve(g, z0)
    with torch.device("meta"):
        found = Picard(**SETTINGS).solve(g, z0)
    assert torch.equal(found.z, expected.z)
    assert torch.equal(found.n_iter, expected.n_iter)


@pytest.mark.parametrize("shape", [(6,), (6, 2, 3), (6, 1)])
def test_states_of_any_shape(both, shape):
    class Scaled(Affine):
        def forward(self, z, c):
            # Not contiguous, as images are that keep their channels last.
            return (z.tanh() * 0.8 + c).mT.contiguous().mT if z.ndim > 2 else z.tanh() * 0.8 + c

    agree(*both(lambda: Scaled(matrix(2, 0.5)), random(*shape), Anderson(**SETTINGS)))


@each_solver
def test_in_float32_the_answers_agree_to_its_rounding(both, solver):
    a, x = matrix(12, 0.8).float(), random(5, 12).float()
    arrays, tensors = both(lambda: Affine(a), x, type(solver)(rtol=1e-5, max_iter=300))
    assert torch.allclose(arrays.z, tensors.z, rtol=1e-4, atol=1e-4)
    assert arrays.z.dtype == torch.float32


@pytest.mark.parametrize("solver", [Picard, lambda share: Anderson(3, share)])
def test_a_share_of_numpys_leaves_float32_as_it_is(both, solver):
    seen = []

    class Noted(Affine):
        def forward(self, z, c):
            seen.append(z.dtype)
            return super().forward(z, c)

    a, x = matrix(6, 0.7).float(), random(3, 6).float()
    shared, _ = both(lambda: Noted(a), x, solver(np.float64(0.5)))
    plain, _ = both(lambda: Noted(a), x, solver(0.5))
    assert set(seen) == {torch.float32}
    assert torch.equal(shared.z, plain.z)


class Halves(AbstractMap):
    """z -> z / 2 + 1, of a shape or dtype of its own at the third call."""

    def __init__(self, change):
        self.layout, self.change, self.calls = Dense(2), change, 0

    def __call__(self, z):
        self.calls += 1
        return (self.change if self.calls == 3 else torch.clone)(z / 2 + 1)

    def select(self, keep):
        raise NotImplementedError


@pytest.mark.parametrize("change", [lambda z: z.double(), lambda z: z[:, :1], lambda z: z[:1]])
def test_a_map_that_changes_the_state_is_told_so(change):
    with pytest.raises(OperatorError, match=r"of shape \(2, 3\) before"):
        Picard().solve(Halves(change), torch.zeros(2, 3))


@pytest.mark.parametrize("z", [torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(2, 1)])
def test_a_start_unlike_its_image_is_left_to_torch(z):
    assert host_rows(Dense(2), z, torch.zeros(2, 3)) is None


def test_a_state_without_an_array_is_left_to_torch():
    z = torch.zeros(2, 3)
    assert host_rows(Dense(2), z.to_sparse(), z) is None
    assert host_rows(Dense(2), z, z) is not None


@each_solver
def test_all_that_a_solve_returns_can_be_resized(both, solver):
    arrays, _ = both(lambda: Affine(matrix(6, 0.7)), random(3, 6), solver)
    for name in ("z", "n_iter", "n_eval", "relative_residual", "status"):
        getattr(arrays, name).resize_(50)


def test_a_map_of_ones_own_may_stop():
    class Impatient(FixedPointMap):
        def stop(self, z, gz):
            return torch.ones(self.layout.n, dtype=torch.bool)

    g, z0 = Equilibrium(Affine(matrix(4, 0.9))).bind(random(2, 4))
    found = Picard(**SETTINGS).solve(Impatient(g.operator, g.c, g.layout), z0)
    assert found.n_iter.tolist() == [1, 1]


def test_a_start_that_asks_for_a_gradient_is_read_as_it_is(both):
    z0 = torch.nn.Parameter(random(3, 6, seed=4))
    agree(*both(lambda: Affine(matrix(6, 0.7)), random(3, 6), Anderson(**SETTINGS), z0))


def test_a_singular_system_gives_up_its_own_sample_only():
    matrices, rhs = torch.stack([matrix(3, 0.9), torch.zeros(3, 3).double()]), random(2, 3)
    found = ARRAYS.weights(matrices.numpy(), rhs.numpy())
    expected = torch.linalg.solve(matrices[0], rhs[0])
    for weights in (torch.from_numpy(found), TENSORS.weights(matrices, rhs)):
        assert torch.allclose(weights[0], expected, rtol=1e-12)
        assert not weights[1].isfinite().any()
    sound = ARRAYS.sound(found)
    assert (sound[0] == found[0]).all()
    assert (sound[1] == 0).all()


def test_samples_at_rest_need_no_second_solve(monkeypatch):
    """A row of zeros is known to be singular before NumPy gives up the whole batch for it."""
    matrices, rhs = torch.stack([matrix(3, 0.9)] * 3), random(3, 3)
    matrices[1] = 0
    matrices[2, 1], matrices[2, :, 1] = 0, 0
    monkeypatch.setattr(TENSORS, "weights", None)
    found = torch.from_numpy(ARRAYS.weights(matrices.numpy(), rhs.numpy()))
    assert torch.allclose(found[0], torch.linalg.solve(matrices[0], rhs[0]), rtol=1e-12)
    assert not found[1:].isfinite().any()
    # A zero on the diagonal alone says nothing.
    turn, rhs = (
        torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]).double(),
        torch.tensor([[6.0, 5.0]]).double(),
    )
    assert ARRAYS.weights(turn.numpy(), rhs.numpy()).tolist() == [[5.0, 3.0]]


@pytest.mark.parametrize("solver", [Anderson, Broyden, Auto])
def test_a_depth_that_is_never_reached_costs_no_memory(both, solver):
    x = random(256, 64)
    tracemalloc.start()
    arrays, tensors = both(lambda: Affine(matrix(64, 0.9)), x, solver(1000, max_iter=20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    agree(arrays, tensors)
    n_states = peak / x.nbytes  # 2 * (16 + 32) while the room grows from 16 slots to 32
    assert n_states < 110


def test_who_counts_operations_sees_those_of_tensors():
    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func._schema.name)
            return func(*args, **(kwargs or {}))

    seen = []
    g, z0 = Equilibrium(Affine(matrix(4, 0.5))).bind(random(2, 4))
    with Names():
        Anderson(rtol=1e-9).solve(g, z0)
    assert "aten::linalg_vector_norm" in seen
    seen.clear()
    Anderson(rtol=1e-9).solve(g, z0)
    assert not seen
