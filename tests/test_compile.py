"""`compile`: the numbers of the plain operator, by few graphs, and one line where it cannot be.

Most tests use the backends `eager` and `aot_eager`, which trace everything and generate no code.
"""

import copy
import pickle
from functools import cache

import pytest
import torch
from problems import RaggedAffine, matrix, random, systems
from torch import nn

from lit_implicit import (
    AbstractOperator,
    Anderson,
    Broyden,
    Equilibrium,
    Implicit,
    JacobianFree,
    Picard,
    Unrolled,
    jacobian_norm,
)
from lit_implicit.compilation import Compile, CompiledOperator
from lit_implicit.errors import ConfigError, OperatorError

# Dynamo looks at `.grad` of all that it is given; outside pytest torch keeps this to itself.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

AOT = Compile(backend="aot_eager")
TRACED = Compile(backend="eager")


class Rates(AbstractOperator):
    """G(z, x) = rate tanh(A z) + b, A of spectral norm 1: the rate rules how long a sample takes.

    Unlike those of `problems` it counts no calls: a counter asks for a new graph at each.
    """

    def __init__(self, dim=5):
        super().__init__()
        self.a = nn.Parameter(matrix(dim, 1.0))

    def init_state(self, c, generator=None):
        return torch.zeros_like(c["b"])

    def forward(self, z, c):
        return c["rate"] * torch.tanh(z @ self.a.T) + c["b"]


class RaggedRates(RaggedAffine):
    def forward(self, z, c):
        products = self.gain * c.values * z[c.columns]
        return torch.zeros_like(z).index_add(0, c.rows, products) + c.b


def dense(n=6, requires_grad=True):
    """Samples whose counts differ by an order of magnitude."""
    rate = torch.linspace(0.1, 0.97, n, dtype=torch.float64)[:, None]
    return {"rate": rate, "b": random(n, 5, seed=7).requires_grad_(requires_grad)}


def ragged():
    sizes, radii = (3, 7, 2, 5, 4, 6), (0.97, 0.1, 0.8, 0.5, 0.3, 0.95)
    pairs = zip(sizes, radii, strict=True)
    x = systems(*((matrix(n, r, seed=n), random(n, seed=n)) for n, r in pairs))
    x.b.requires_grad_()
    return x


CASES = {"dense": (Rates, dense), "ragged": (lambda: RaggedRates(0.9), ragged)}
each_case = pytest.mark.parametrize("case", CASES)


def parts(case):
    make, make_x = CASES[case]
    x = make_x()
    return make(), x, (x["b"] if case == "dense" else x.b)


@cache
def shared(case):
    """An operator that is compiled once for all tests that only call it."""
    operator, x, leaf = parts(case)
    return operator, x, leaf, CompiledOperator(operator, AOT)


def trained(layer, x, leaf):
    """One step: answer, counts, gradients."""
    y, solution = layer(x)
    inputs = [*layer.operator.parameters(), leaf]
    return y.detach(), solution.n_iter, torch.autograd.grad(y.square().sum(), inputs)


@each_case
@pytest.mark.parametrize("solver", [Picard(0.7), Anderson(), Broyden()], ids=str)
@pytest.mark.parametrize(
    "adjoint", [Implicit(), Implicit(order=2), JacobianFree(3), Unrolled(20)], ids=str
)
def test_a_compiled_g_gives_the_numbers_of_the_plain_one(case, solver, adjoint):
    if isinstance(adjoint, Unrolled) and isinstance(solver, Broyden):
        pytest.skip("`Unrolled` differentiates no Broyden step")
    solver = type(solver)(rtol=1e-12, max_iter=100)
    operator, x, leaf, compiled_g = shared(case)
    plain = Equilibrium(operator, solver, adjoint)
    compiled = Equilibrium(operator, solver, adjoint, compiled_g)
    expected = trained(plain, x, leaf)
    for _ in range(2):  # the very first call of G is a plain one
        found = trained(compiled, x, leaf)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-11, atol=1e-12)
        for p, q in zip(found[2], expected[2], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)
    assert compiled.compiled.n_graphs > 0
    with torch.no_grad():
        torch.testing.assert_close(compiled(x)[0], plain(x)[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("case", "n_graphs"), [("dense", 2), ("ragged", 1)])
def test_a_batch_that_narrows_needs_no_graph_but_where_one_row_is_left(case, n_graphs):
    operator, x, _ = parts(case)
    sizes = set()

    class Narrowing(type(operator)):
        def select(self, c, keep):
            sizes.add(int(keep.sum()))
            return super().select(c, keep)

    operator.__class__ = Narrowing
    layer = Equilibrium(operator, Picard(rtol=1e-10, max_iter=900), compile=TRACED)
    with torch.no_grad():
        solution = layer(x)[1]
        assert solution.converged.all()
        assert len(sizes) > 1
        assert min(sizes) == 1
        assert layer.compiled.n_graphs == n_graphs
        layer(x)
        assert layer.compiled.n_graphs == n_graphs
    for _ in range(2):
        layer(x)[0].sum().backward()
    assert layer.compiled.n_graphs == n_graphs + 1  # that of the tracked call
    with torch.inference_mode():
        x = operator.select(x, torch.ones(6, dtype=torch.bool))  # as an encoder makes it there
        layer(x)
    assert layer.compiled.n_graphs == 2 * n_graphs + 1


def test_other_batch_sizes_share_one_graph():
    layer = Equilibrium(Rates(), Picard(rtol=1e-3, max_iter=20), compile=TRACED)
    layer.solver = Picard(rtol=0.0, max_iter=5)
    with torch.no_grad():
        for n in (6, 5, 17, 3):
            layer(dense(n))
    assert layer.compiled.n_graphs == 1


def test_static_shapes_are_compiled_one_by_one():
    settings = Compile(backend="eager", dynamic=False)
    layer = Equilibrium(Rates(), Picard(rtol=0.0, max_iter=5), compile=settings)
    with torch.no_grad():
        for n in (6, 5, 17, 5):
            layer(dense(n))
    assert layer.compiled.n_graphs == 3


@each_case
def test_the_answer_of_a_sample_does_not_depend_on_its_batch_mates(case):
    operator, x, _, compiled = shared(case)
    layer = Equilibrium(operator, Anderson(rtol=1e-10, max_iter=200), compile=compiled)
    with torch.no_grad():
        y, solution = layer(x)
        g, _ = layer.bind(x)
        for i in range(solution.n_iter.numel()):
            keep = torch.arange(solution.n_iter.numel()) == i
            alone, of_one = layer(operator.select(g.c, keep))
            torch.testing.assert_close(alone, g.layout.select(y, keep), rtol=1e-8, atol=1e-10)
            assert int(of_one.n_iter) == int(solution.n_iter[i])


def test_a_sample_that_fails_touches_no_other():
    x = dense()
    x["b"] = x["b"].detach().index_fill(0, torch.tensor([2]), torch.nan)
    operator = Rates()
    results = []
    for switch in (None, AOT):
        layer = Equilibrium(operator, Picard(rtol=1e-10, max_iter=900), compile=switch)
        for _ in range(2):
            y, solution = layer(x)
            (gradient,) = torch.autograd.grad(y[~solution.failed].sum(), operator.a)
        assert solution.failed.tolist() == [i == 2 for i in range(6)]
        results.append(gradient)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("adjoint", [JacobianFree(), Unrolled()], ids=str)
def test_second_derivatives_of_compiled_code_are_refused(adjoint):
    x = dense()
    layer = Equilibrium(Rates(), Picard(max_iter=5), adjoint, compile=AOT)
    layer(x)
    y, _ = layer(x)
    with pytest.raises(RuntimeError, match=r"first derivatives only.*`Implicit\(order=2\)`"):
        torch.autograd.grad(y.sum(), x["b"], create_graph=True)


def test_second_derivatives_are_left_to_calls_that_are_not_compiled():
    x, operator = dense(), Rates()

    def second(switch):
        layer = Equilibrium(operator, Picard(max_iter=5), Unrolled(last=2), compile=switch)
        for _ in range(2):
            (first,) = torch.autograd.grad(layer(x)[0].sum(), x["b"], create_graph=True)
            (found,) = torch.autograd.grad(first.square().sum(), x["b"])
        return found, layer

    found, layer = second(Compile(backend="aot_eager", tracked=False))
    torch.testing.assert_close(found, second(None)[0], rtol=1e-10, atol=1e-12)
    assert layer.compiled.n_graphs == 1  # of the calls before the last two


def test_second_derivatives_by_order_2_are_those_of_the_plain_operator():
    x, solver = dense(), Picard(rtol=1e-14, max_iter=1500)
    operator = Rates()

    def second(switch):
        layer = Equilibrium(operator, solver, Implicit(order=2), compile=switch)
        for _ in range(2):
            (first,) = torch.autograd.grad(layer(x)[0].sum(), x["b"], create_graph=True)
            (found,) = torch.autograd.grad(first.square().sum(), x["b"])
        return found

    torch.testing.assert_close(second(AOT), second(None), rtol=1e-9, atol=1e-10)
    assert second(None).norm() > 0.1


def test_penalties_see_the_plain_operator():
    x = dense()
    layer = Equilibrium(Rates(), Picard(rtol=1e-8, max_iter=300), compile=AOT)
    for _ in range(2):
        g, solution = layer.solve(x)
    assert g.apply is None
    penalty = jacobian_norm(g, solution.z, torch.Generator().manual_seed(0)).sum()
    (gradient,) = torch.autograd.grad(penalty, layer.operator.a)
    assert gradient.norm() > 0


class SpectralCell(AbstractOperator):
    """The README's example, with a dropout of nothing and frozen statistics: all are allowed."""

    def __init__(self):
        super().__init__()
        self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 5).double())
        self.dropout, self.norm = nn.Dropout(0.0), nn.BatchNorm1d(5).double()

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return torch.tanh(0.5 * self.norm(self.dropout(self.linear(z))) + c)


def test_layers_that_a_solve_holds_still_need_no_graph_of_their_own():
    torch.manual_seed(0)
    operator, x = SpectralCell(), random(4, 5)
    operator.norm.eval()
    layer = Equilibrium(operator, Picard(rtol=0.0, max_iter=20), compile=AOT)
    plain = Equilibrium(operator, Picard(rtol=0.0, max_iter=20))
    for _ in range(4):
        state = copy.deepcopy(operator.state_dict())
        found = torch.autograd.grad(layer(x)[0].square().sum(), list(operator.parameters()))
        after = copy.deepcopy(operator.state_dict())
        operator.load_state_dict(state)
        expected = torch.autograd.grad(plain(x)[0].square().sum(), list(operator.parameters()))
        for p, q in zip(found, expected, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
        for key, value in operator.state_dict().items():
            torch.testing.assert_close(after[key], value, rtol=1e-12, atol=1e-14)
    assert layer.compiled.n_graphs == 2


@pytest.mark.parametrize("when", ["at once", "later"])
def test_batch_statistics_are_refused_as_ever(when):
    layer = Equilibrium(SpectralCell(), Picard(rtol=0.0, max_iter=3), compile=AOT)
    if when == "later":
        layer.operator.norm.eval()
        layer(random(4, 5))
        layer.operator.norm.train()
    with pytest.raises(OperatorError, match="calls BatchNorm1d in training mode"):
        layer(random(4, 5))


class Changed(Rates):
    """Writes, shrinks or forgets what it returns from the second call on."""

    how = "in place"
    broken = False

    def forward(self, z, c):
        gz = super().forward(z, c)
        if not self.broken:
            return gz
        if self.how == "in place":
            return z.mul_(0.5) + gz
        return {"shape": gz[:, :2], "dtype": gz.float(), "nothing": None}[self.how]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("how", "message"),
    [("in place", "changed its state in place"), ("shape", "must keep the shape"),
     ("dtype", "must keep the dtype"), ("nothing", "Is a `return` missing")],
)  # fmt: skip
def test_an_operator_that_breaks_its_contract_is_told_the_same_line(how, message, at_once):
    operator = Changed()
    operator.how, operator.broken = how, at_once
    layer = Equilibrium(operator, Picard(max_iter=5), compile=AOT)
    with torch.no_grad():
        if not at_once:
            layer(dense())
            operator.broken = True
        with pytest.raises(OperatorError, match=message):
            layer(dense())


def test_an_exception_of_its_own_passes_with_its_place():
    class Divides(Rates):
        def forward(self, z, c):
            return super().forward(z, c) + 1 // (len(z) - 3)

    layer = Equilibrium(Divides(), Picard(rtol=0.0, max_iter=5), compile=TRACED)
    with torch.no_grad():
        layer(dense(6))
        with pytest.raises(ZeroDivisionError) as caught:
            layer(dense(3))
    assert "`Divides.forward`" in caught.value.__notes__[0]


def test_what_cannot_be_traced_is_one_line():
    class Branches(Rates):
        def forward(self, z, c):
            return super().forward(z, c) if float(z.sum()) < 1e9 else z

    layer = Equilibrium(Branches(), Picard(max_iter=5), compile=TRACED)
    with torch.no_grad(), pytest.raises(ConfigError) as caught:
        layer(dense())
    line = str(caught.value)
    assert line.startswith("`compile` failed on `Branches.forward`: ")
    assert "in forward" in line
    assert "`compile: {fullgraph: false}`" in line
    assert "\n" not in line
    assert len(line) < 500
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    settings = Compile(backend="eager", fullgraph=False)
    in_pieces = Equilibrium(Branches(), Picard(rtol=1e-12, max_iter=900), compile=settings)
    plain = Equilibrium(Branches(), Picard(rtol=1e-12, max_iter=900))
    with torch.no_grad():
        torch.testing.assert_close(in_pieces(dense())[0], plain(dense())[0])


def test_a_missing_compiler_is_one_line(monkeypatch):
    def lower(graph, inputs):
        raise RuntimeError("No working C++ compiler found in config.cpp.cxx: (None, 'g++')\nmore")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: lower)
    layer = Equilibrium(Rates(), Picard(max_iter=5), compile=TRACED)
    with torch.no_grad(), pytest.raises(ConfigError, match=r"g\+\+'\)\. Install a C\+\+ compiler"):
        layer(dense())


def test_a_counter_in_g_ends_in_plain_calls_and_one_line():
    class Counts(Rates):
        n_calls = 0

        def forward(self, z, c):
            self.n_calls += 1
            return super().forward(z, c)

    lines = []
    operator = Counts()
    layer = Equilibrium(operator, Picard(rtol=0.0, max_iter=30), compile=TRACED)
    layer.compiled.tell = lines.append
    with torch.no_grad():
        y, _ = layer(dense())
        expected, _ = Equilibrium(Rates(), Picard(rtol=0.0, max_iter=30))(dense())
    torch.testing.assert_close(y, expected)
    assert operator.n_calls == 30
    assert sum("ask for a version each" in line for line in lines) == 1


def test_weights_keep_their_names_and_copies_compile_anew():
    x = dense(requires_grad=False)
    layer = Equilibrium(Rates(), Picard(rtol=1e-9, max_iter=300), compile=AOT)
    with torch.no_grad():
        y, _ = layer(x)
    plain = Equilibrium(Rates(), Picard(rtol=1e-9, max_iter=300))
    assert list(layer.state_dict()) == list(plain.state_dict()) == ["operator.a"]
    plain.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.compiled.operator is other.operator
        assert other.compiled.n_graphs == 0
        with torch.no_grad():
            other.operator.a.zero_()
            torch.testing.assert_close(other(x)[0], x["b"])  # its own weights
            torch.testing.assert_close(layer(x)[0], y)
        assert other.compiled.n_graphs > 0


def test_weights_that_change_are_seen():
    x, layer = dense(), Equilibrium(Rates(), Picard(rtol=1e-12, max_iter=900), compile=AOT)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    plain = Equilibrium(layer.operator, layer.solver)
    for _ in range(4):
        optimizer.zero_grad()
        layer(x)[0].square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            torch.testing.assert_close(layer(x)[0], plain(x)[0], rtol=1e-10, atol=1e-12)


def test_autocast_computes_in_half_precision():
    torch.manual_seed(0)

    class Half(AbstractOperator):
        def __init__(self):
            super().__init__()
            self.linear, self.seen = nn.Linear(5, 5), []

        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            return 0.5 * torch.tanh(self.linear(z)) + c

    operator, x = Half(), torch.randn(4, 5)
    compiled = Equilibrium(operator, Picard(rtol=0.0, max_iter=9), JacobianFree(), compile=AOT)
    plain = Equilibrium(operator, Picard(rtol=0.0, max_iter=9), JacobianFree())
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = compiled(x)
            expected, _ = plain(x)
        assert y.dtype == expected.dtype
        torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)  # bfloat16: 8 bits
        found = torch.autograd.grad(y.sum(), operator.linear.weight)
        torch.testing.assert_close(
            found, torch.autograd.grad(expected.sum(), operator.linear.weight), rtol=0.05, atol=0.05
        )
    torch.testing.assert_close(compiled(x)[0], plain(x)[0], rtol=1e-5, atol=1e-6)  # float32 again


@pytest.mark.parametrize(
    ("setting", "found"),
    [(None, None), (False, None), (True, Compile()), ("max-autotune", Compile("max-autotune")),
     (TRACED, TRACED)],
)  # fmt: skip
def test_the_switch(setting, found):
    assert Compile.of(setting) == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mode": "fast"}, r"`Compile.mode` must be one of default, .*, got 'fast'"),
     ({"backend": "gcc"}, r"`Compile.backend` must be one of .*inductor.*, got 'gcc'"),
     ({"mode": "max-autotune", "backend": "eager"}, "is one of the backend 'inductor'")],
)  # fmt: skip
def test_settings_that_do_not_exist_are_refused(settings, message):
    # Past the type checks of these tests, as for those who use the layer.
    given = Compile.__new__(Compile)
    for key, value in {"mode": "default", "backend": "inductor", **settings}.items():
        object.__setattr__(given, key, value)
    with pytest.raises(ConfigError, match=message):
        given.__post_init__()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the code generator's own
@each_case
def test_generated_code_gives_the_numbers_of_the_plain_operator(case):
    operator, x, leaf = parts(case)
    compiled_g = CompiledOperator(operator, Compile())
    for adjoint in (Implicit(), JacobianFree(2)):  # the backward pass runs often, or once
        solver = Anderson(rtol=1e-12, max_iter=100)
        expected = trained(Equilibrium(operator, solver, adjoint), x, leaf)
        layer = Equilibrium(operator, solver, adjoint, compiled_g)
        for _ in range(2):
            found = trained(layer, x, leaf)
            torch.testing.assert_close(found[0], expected[0], rtol=1e-11, atol=1e-12)
            for p, q in zip(found[2], expected[2], strict=True):
                torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        y, _ = layer(x)
    torch.testing.assert_close(y, expected[0], rtol=1e-9, atol=1e-10)
    assert compiled_g.n_graphs > 2
