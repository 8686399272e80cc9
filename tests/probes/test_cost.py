"""Operations counted by hand, and the clock against known waits."""

from math import log2

import pytest
import torch
from affine_task import AffineObjective
from torch import nn

from lit_implicit import AbstractOperator, Equilibrium
from lit_implicit.probes import Stopwatch, TestTimeCurveProbe, flops_of, iteration_cost
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.network import LPGraphNetwork
from lit_implicit_lp.operator import LPGraphOperator
from lit_implicit_lp.sparse import SparseMatrix

X = torch.ones(5, 3)
CSR = (torch.tensor([0, 2, 3, 3]), torch.tensor([0, 1, 3]), torch.ones(3), (3, 4))
INDEX = torch.tensor([0, 1, 1, 0, 2])


def sparse(x):
    matrix = SparseMatrix.from_coordinates(INDEX, INDEX, torch.ones(5), 4, 3)
    return matrix @ x


CASES = {
    "linear": (nn.Linear(3, 4, bias=False), (X,), 2 * 5 * 3 * 4),
    "linear with bias": (nn.Linear(3, 4), (X,), 2 * 5 * 3 * 4 + 5 * 4),
    "three axes": (nn.Linear(3, 4), (torch.ones(2, 5, 3),), 2 * (2 * 5 * 3 * 4 + 5 * 4)),
    "convolution": (
        nn.Conv2d(2, 3, 3), (torch.ones(4, 2, 8, 8),), 4 * 6 * 6 * 3 * (2 * 2 * 9 + 1)
    ),
    "complex product": (torch.matmul, (X.cfloat(), X.T.cfloat()), 8 * 5 * 3 * 5),
    "einsum": (lambda a, b: torch.einsum("bi,io->bo", a, b), (X, X.T), 2 * 5 * 3 * 5),
    "fft": (torch.fft.fft, (torch.ones(3, 8).cfloat(),), 3 * 5 * 8 * 3),
    "fft in two axes": (torch.fft.fft2, (torch.ones(3, 8, 4).cfloat(),), 3 * 5 * 32 * log2(32)),
    "real fft": (torch.fft.rfft, (torch.ones(3, 8),), 3 * 5 * 8 * 3 / 2),
    "back to real": (
        lambda x: torch.fft.irfft(x, n=8), (torch.ones(3, 5).cfloat(),), 3 * 5 * 8 * 3 / 2
    ),
    "sparse rows": (
        lambda x: torch.sparse_csr_tensor(*CSR, check_invariants=False) @ x, (torch.ones(4, 7),),
        2 * 3 * 7,
    ),
    "sparse matrix of the LPs": (sparse, (torch.ones(3, 7),), 2 * 5 * 7),
    "index_add": (lambda x: torch.zeros(3, 3).index_add(0, INDEX, x), (X,), 15),
    "scatter_add": (lambda x: torch.zeros(3).scatter_add_(0, INDEX, x[:, 0]), (X,), 5),
    "index_put": (lambda x: torch.zeros(3).index_put((INDEX,), x[:, 0], accumulate=True), (X,), 5),
    "gather, scale and scatter": (
        lambda x: torch.zeros(4, 3).index_add(0, INDEX, 2.0 * x[INDEX % 3]), (X,), 2 * 5 * 3
    ),
    "elementwise": (lambda x: (x * x + 1).tanh().relu_(), (X,), 4 * 15),
    "integers and copies": (lambda i: (i + 1).flip(0)[i].clone().float(), (INDEX,), 0),
    "group norm": (nn.GroupNorm(1, 3), (torch.ones(5, 3, 4),), 5 * 60),
    "softmax": (nn.Softmax(-1), (X,), 3 * 15),
    "mean": (torch.mean, (X,), 15),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_operations_by_hand(name, inference):
    function, args, expected = CASES[name]
    with torch.inference_mode(inference):
        assert flops_of(function, *args) == expected


def programs():
    """Two programs with 4 + 2 variables, 2 + 1 constraints and 5 + 2 nonzeros."""
    rows, columns = torch.tensor([0, 0, 1, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 3, 4, 5])
    ones = torch.ones
    return LPFeatures(
        c=ones(6), lower=-ones(6), upper=ones(6), b=ones(3), is_equality=torch.zeros(3),
        coefficients=ones(7), edge_index=torch.stack([rows, columns]),
        batch=torch.tensor([0, 0, 0, 0, 1, 1]), constraint_batch=torch.tensor([0, 0, 1]), n=2,
    )  # fmt: skip


def mlp(n, n_in, n_hidden, n_out, *, bias_in=True, bias_out=True):
    """Linear-ReLU-Linear on n rows."""
    first = n * n_hidden * (2 * n_in + bias_in + 1)
    return first + n * n_out * (2 * n_hidden + bias_out)


def half_convolution(n_source, n_receiver, nnz, v, c, to_constraints):
    source, receiver = (n_source, n_receiver) if to_constraints else (n_receiver, n_source)
    hidden = v if to_constraints else c  # features of a message
    n_out = c if to_constraints else v
    total = mlp(source, v, v, v, bias_in=False) + mlp(receiver, c, c, c)
    return total + 2 * nnz * hidden + mlp(n_receiver, v + c, n_out, n_out) + n_receiver * n_out


@pytest.mark.parametrize("width", [4, 16])
def test_operations_of_the_graph_networks_by_hand(width):
    x, w, n_v, n_c, nnz = programs(), width, 6, 3, 7
    cost = iteration_cost(Equilibrium(LPGraphOperator(width)), x)
    units = 3 * n_v  # costs and bounds are divided by theirs
    assert cost.encode == units + n_v * w * (2 * 3 + 2) + n_c * w * (2 * 2 + 2)

    def sweeps(v, c):
        there = half_convolution(n_v, n_c, nnz, v, c, to_constraints=True)
        return 2 * (there + half_convolution(n_c, n_v, nnz, v, c, to_constraints=False))

    assert cost.step == sweeps(w + 1, w) + n_v * (2 * (w + 1) + 1)
    assert cost.decode == mlp(n_v, w + 1, w, 1, bias_out=False) + n_v
    assert cost.after(3) == cost.encode + 3 * cost.step + cost.decode
    # The explicit network by the same function.
    explicit = cost.encode + sweeps(w, w) + mlp(n_v, w, w, 1, bias_out=False) + n_v
    assert flops_of(LPGraphNetwork(width), x) == explicit


class Slow(AbstractOperator):
    """An operator whose clock is a list of ticks, one per call, so that nothing waits."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def encode(self, x):
        self.clock.now += 100.0
        return x

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        self.clock.now += 10.0
        return 0.5 * z + c

    def decode(self, z, c):
        self.clock.now += 1.0
        return z


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


class SlowObjective(AffineObjective):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def error(self, y, batch):
        self.clock.now += 1e6  # is no part of the answer
        return super().error(y, batch)


def test_curve_tells_operations_and_seconds_behind_each_answer(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("lit_implicit.probes.cost.time", clock)
    probe, layer = TestTimeCurveProbe(4), Equilibrium(Slow(clock).double())
    for n in (5, 2):
        x = torch.ones(n, 3).double()
        probe.update(layer, SlowObjective(clock), (x, x))
    curve = probe.compute()
    # Of batches of 5 and 2, torch's median is the lower value; one sample, three numbers, 2 each.
    assert curve.seconds.tolist() == pytest.approx([(101 + 10 * t) / 5 for t in range(5)])
    assert curve.flops.tolist() == [6.0 * t for t in range(5)]
    assert curve.batch_size == 5
    assert {"flops", "seconds"} <= set(curve.columns())


def test_operations_are_counted_once():
    class Counting(Slow):
        n_calls = 0

        def forward(self, z, c):
            self.n_calls += 1
            return super().forward(z, c)

    probe, layer = TestTimeCurveProbe(4), Equilibrium(Counting(Clock()).double())
    x = torch.ones(2, 3).double()
    calls = []
    for _ in range(3):
        before = layer.operator.n_calls
        probe.update(layer, AffineObjective(), (x, x))
        calls.append(layer.operator.n_calls - before)
    assert calls == [6, 5, 5]


@pytest.mark.gpu
def test_events_measure_a_gpu():
    watch = Stopwatch(torch.device("cuda"))
    a = torch.ones(4096, 4096, device="cuda")
    for _ in range(3):
        with watch("product"):
            for _ in range(20):
                a @ a
    seconds = watch.seconds("product")
    assert len(seconds) == 3
    # 20 products of 137 GFLOP: between 1 GFLOP/s and 10 PFLOP/s.
    assert ((seconds > 2.7e12 / 1e16) & (seconds < 2.7e12 / 1e9)).all()
