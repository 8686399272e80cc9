"""The counters of the benchmark of solvers count known things exactly."""

import math

import pytest
import torch
from problems import Affine, matrix, random

CPU = torch.device("cpu")


@pytest.fixture
def work(part):
    """Count what a function does outside a map on states of 4 x 8: passes, operations, looks."""

    def work(function, n_state=32):
        counter = part("counting").WorkOutside(part("calls").Calls(), n_state)
        with torch.no_grad(), counter:
            function()
        return counter.n_passes, counter.n_ops, counter.n_looks

    return work


Z, ZZ = random(4, 8), random(4, 8, seed=2)
KEEP = torch.tensor([True, True, False, True])
STACK = random(3, 4, 8)
WEIGHTS = random(3, 4)
SMALL, SMALL_RHS = torch.eye(3).double(), random(3, 1)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: Z + ZZ, (3, 1, 0)),
        (lambda: Z + Z, (2, 1, 0)),  # one place in memory
        (lambda: Z.clone().mul_(2), (4, 2, 0)),
        (lambda: Z.clone().copy_(ZZ), (4, 2, 0)),  # copies write only
        (lambda: torch.add(Z, ZZ, out=torch.empty_like(Z)), (3, 1, 0)),
        (lambda: Z.norm(dim=1), (1, 1, 0)),
        (lambda: torch.where(KEEP[:, None], Z, ZZ), (3, 1, 0)),
        (lambda: Z[:, None].expand(4, 5, 8) * 1.0, (6, 1, 0)),  # broadcasts are read once
        (lambda: Z.reshape(2, 16).T[:3].detach(), (0, 0, 0)),  # views
        (lambda: torch.empty_like(Z), (0, 0, 0)),
        (lambda: torch.zeros(3, 4, 8).double(), (9, 2, 0)),  # written, read, written
        (lambda: torch.zeros_like(Z) + Z.new_ones(4, 8), (5, 3, 0)),
        (lambda: torch.einsum("kn,knd->nd", WEIGHTS, STACK), (4, 1, 0)),
        (lambda: torch.stack([Z, ZZ]), (4, 1, 0)),
        (lambda: WEIGHTS.sum() + 1, (0, 2, 0)),  # smaller than a state
        (lambda: Z.sum().item(), (1, 1, 1)),
        (lambda: bool((Z.sum() > 0).all()), (1, 3, 1)),
        (lambda: torch.linalg.solve(SMALL, SMALL_RHS), (0, 1, 1)),
        (lambda: KEEP.nonzero(), (0, 1, 1)),
        (lambda: STACK[:, KEEP], (4.5, 1, 1)),  # 9 of 4 rows are picked
        (lambda: STACK.clone().index_put_((torch.tensor(0),), Z), (8, 2, 0)),
        (lambda: torch.equal(Z, ZZ), (2, 1, 1)),
    ],
)
def test_work_outside_counts_known_operations(work, function, expected):
    assert work(function) == expected


def test_work_inside_the_map_is_not_counted(part):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    outside = part("counting").WorkOutside
    with part("calls").counted(operator) as calls, outside(calls, 24) as work:
        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(5):
                gz = operator(z, x)
                if (gz - z).norm() < 0:  # 3 passes, 1 pass, a comparison, a look
                    break
                z = gz
    assert (calls.n, calls.work) == (5, 5.0)
    assert (work.n_passes, work.n_ops, work.n_looks) == (1 + 5 * 4, 1 + 5 * 3, 5)


def test_narrowed_batch_counts_in_fractions_of_the_state(part):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    outside = part("counting").WorkOutside
    with part("calls").counted(operator) as calls, outside(calls, 24) as work, torch.no_grad():
        operator(x, x)
        half = operator(x[:2], x[:2])
        half.add(half)  # 2 passes of half a state
    assert (calls.n, calls.work, work.n_passes) == (2, 1.5, 1.0)


@pytest.mark.parametrize("n_terms", [1, 7])
def test_products_with_the_jacobian_are_counted(part, n_terms):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    z = x.clone().requires_grad_()
    with part("calls").counted(operator) as calls:
        gz = operator(z, x)
        for _ in range(n_terms):
            torch.autograd.grad(gz, z, x, retain_graph=True)
    assert (calls.n, calls.n_vjp) == (1, n_terms)


def test_calls_are_ended_and_bad_states_found(part):
    calls = part("calls")
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    with calls.counted(operator) as seen, calls.at_most(operator, 3):
        for _ in range(9):
            operator(x, x)
    assert seen.n == 3
    with calls.finite(operator, every=2):
        operator(x * math.nan, x)
        with pytest.raises(ArithmeticError, match="call 2"):
            operator(x * math.nan, x)


def test_peak_is_the_largest_sum_of_living_tensors(part):
    def run():
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000
        del a
        c = b * 2  # 8,000
        view = c[:10]
        d = torch.ones(2000)  # 16,000
        return d, view

    assert part("memory").peak_bytes(run, CPU) == 16_000


def test_peak_counts_what_autograd_keeps(part):
    x = torch.randn(250, requires_grad=True)  # before the run: not counted

    def run(n):
        y = x
        for _ in range(n):
            y = y.exp()  # keeps its result
        torch.autograd.grad(y.sum(), x)

    peaks = [part("memory").peak_bytes(lambda n=n: run(n), CPU) for n in (10, 20)]
    assert peaks[1] - peaks[0] == 10 * 1000
