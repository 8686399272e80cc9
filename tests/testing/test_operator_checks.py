"""Each check of an operator passes sound ones, and names the fault it is there for."""

import inspect
import re
import threading
import unittest

import pytest
import torch
import torch.nn.functional as F
from affine_task import AffineOperator
from problems import PROBLEMS, RaggedAffine, Tanh, matrix
from test_layers import imports, sources
from torch import nn

from lit_implicit import AbstractOperator, Dense, Ragged
from lit_implicit.testing import CheckFailedError, check_operator, operator_checks
from lit_implicit.testing.operator_case import OperatorCase

DIM = 3


def x(n=4):
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(0))


class Sound(AbstractOperator):
    """G(z, x) = tanh(W z + V x): each broken operator below differs from it in one way."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.w, self.head = (nn.Linear(DIM, DIM) for _ in range(3))
        with torch.no_grad():
            self.w.weight.mul_(0.5)

    def encode(self, x):
        return self.embed(x)

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return torch.tanh(self.w(z) + c)

    def decode(self, z, c):
        return self.head(z)


class HoldsALock(Sound):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Widening(Sound):
    def forward(self, z, c):
        return torch.cat([z, z], 1)


class IntegerStart(Sound):
    def init_state(self, c, generator=None):
        return torch.zeros(c.shape, dtype=torch.long)


class ChangesDtype(Sound):
    def forward(self, z, c):
        return super().forward(z, c).bfloat16()


class MiscountsSamples(Sound):
    def layout(self, z, c):
        return Dense(z.numel())


class IndexOutOfRange(Sound):
    def layout(self, z, c):
        return Ragged(torch.arange(len(z)), len(z) - 1)


class OneStopForAll(Sound):
    def stop(self, z, gz, c):
        return torch.tensor(True)


class NothingDecoded(Sound):
    def decode(self, z, c):
        return "text"


class LogarithmOfZero(Sound):
    def forward(self, z, c):
        return z.log()


class PoleInTheReadout(Sound):
    def decode(self, z, c):
        return 1 / z


class DropoutInTraining(Sound):
    def forward(self, z, c):
        return F.dropout(super().forward(z, c), 0.1, training=self.training)


class BatchStatistics(Sound):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(DIM)

    def forward(self, z, c):
        return self.norm(super().forward(z, c))


class CountsItsCalls(Sound):
    """A buffer that each call moves: the map drifts while the solver iterates."""

    def __init__(self):
        super().__init__()
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, z, c):
        if self.training:
            self.n_calls += 1
        return super().forward(z, c) + 1e-3 * self.n_calls


class IgnoresTheGenerator(Sound):
    def init_state(self, c, generator=None):
        return torch.randn_like(c)


class NoisyEncoder(Sound):
    def encode(self, x):
        return super().encode(x) + 1e-3 * torch.randn_like(x)


class ClampsTheContext(Sound):
    def init_state(self, c, generator=None):
        c.detach().clamp_(-0.1, 0.1)
        return torch.zeros_like(c)


class KeepsTheFirst(Sound):
    def select(self, c, keep):
        return c[: keep.sum()]


class KeepsAll(Sound):
    def select(self, c, keep):
        return c


class CannotSelect(Sound):
    """A context with something that all samples share."""

    def encode(self, x):
        return super().encode(x), torch.ones(DIM)

    def init_state(self, c, generator=None):
        return torch.zeros_like(c[0])

    def forward(self, z, c):
        return super().forward(z, c[0]) * c[1].to(z.dtype)

    def layout(self, z, c):
        return Dense(len(z))


class CentresTheBatch(Sound):
    def encode(self, x):
        return super().encode(x - x.mean(0))


class StopsTogether(Sound):
    def stop(self, z, gz, c):
        return (gz.norm() < 1).expand(len(z)) if len(z) == 1 else torch.zeros(len(z)).bool()


class RanksTheAnswers(Sound):
    def decode(self, z, c):
        y = super().decode(z, c)
        return y - y[:1]


class MatrixOfBlocks(Sound):
    def forward(self, z, c):
        return torch.tanh(self.w(torch.eye(len(z), dtype=z.dtype) @ z) + c)


class SinglePrecisionInside(Sound):
    def forward(self, z, c):
        gz = super().forward(z, c)
        return torch.zeros(gz.shape) + gz.float()

    def decode(self, z, c):
        return super().decode(z.to(self.head.weight.dtype), c)


class UnusedParameter(Sound):
    def __init__(self):
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(2))


class LearnedStart(Sound):
    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(DIM))

    def init_state(self, c, generator=None):
        return self.start.expand_as(c).clone()


class RootAtZero(Sound):
    def decode(self, z, c):
        return super().decode(z, c) + (0 * self.head.weight).square().sum().sqrt()


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.y = z.tanh()
        return ctx.y

    @staticmethod
    def backward(ctx, v):
        return v

    @staticmethod
    def jvp(ctx, t):
        return t * (1 - ctx.y.square())


class WrongForward(WrongBackward):
    @staticmethod
    def backward(ctx, v):
        return v * (1 - ctx.y.square())

    @staticmethod
    def jvp(ctx, t):
        return t * 1


class NoForward(torch.autograd.Function):
    forward = WrongForward.forward
    backward = WrongForward.backward


class ByHand(Sound):
    """G with derivatives written by hand."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z, c):
        return self.function.apply(self.w(z) + c)


class Detached(Sound):
    def forward(self, z, c):
        return super().forward(z.detach(), c)


class WithoutConjugate(torch.autograd.Function):
    """a b, with the derivative that would be right if both were real."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.factors = a, b
        return a * b

    @staticmethod
    def backward(ctx, v):
        a, b = ctx.factors
        return v * b.conj(), (v * a).sum(0)

    @staticmethod
    def jvp(ctx, ta, tb):
        a, b = ctx.factors
        return (0 if ta is None else ta * b) + (0 if tb is None else a * tb)


class Convolves(Sound):
    """G(z, x) = tanh(W z + k * z + V x) with a kernel k that is learned as its spectrum."""

    def __init__(self, product=torch.mul):
        super().__init__()
        self.product = product
        self.kernel = nn.Parameter(0.1 * torch.randn(DIM // 2 + 1, dtype=torch.complex64))

    def forward(self, z, c):
        wide = z.to(self.w.weight.dtype)  # under autocast, which transforms do not know
        spectrum = self.product(torch.fft.rfft(wide), self.kernel)
        return torch.tanh(self.w(z) + torch.fft.irfft(spectrum, n=DIM) + c)


class AddsIntoFloats(Sound):
    """Under autocast the products are half precision, and `index_add` takes no mixture."""

    def forward(self, z, c):
        index = torch.arange(len(z))
        return torch.tanh(torch.zeros_like(z).index_add(0, index, self.w(z)) + c)


class PlainTensor(Sound):
    def __init__(self):
        super().__init__()
        self.scale = torch.tensor(0.5)

    def forward(self, z, c):
        return super().forward(z * self.scale, c)


class KeepsAComputedWeight(Sound):
    """A weight computed when the operator is made, which loading does not bring up to date."""

    def __init__(self):
        super().__init__()
        self.half = [float(self.w.weight.detach().sum())]

    def forward(self, z, c):
        return super().forward(z, c) + self.half[0]

    def load_state_dict(self, state, strict=True):
        return None  # type: ignore[return-value]


class HoldsALambda(Sound):
    def __init__(self):
        super().__init__()
        self.activation = lambda z: z.tanh()


class GivesUp(Sound):
    def forward(self, z, c):
        if (z.abs() > 100).any():
            raise ArithmeticError("too large")
        return self.w(8 * z) + 8 * z + c


# By the check that must find it: the operator, and a part of the sentence.
BROKEN = [
    ("deep_copy", HoldsALock, "copy.deepcopy"),
    ("shape_and_dtype", Widening, r"keep the shape .* \(4, 3\), got \(4, 6\)"),
    ("shape_and_dtype", IntegerStart, "floating-point tensor, got torch.int64"),
    ("shape_and_dtype", ChangesDtype, "keep the dtype .*, got torch.bfloat16"),
    ("shape_and_dtype", MiscountsSamples, "counts 12 samples, but the state has 4 rows"),
    ("shape_and_dtype", IndexOutOfRange, "from 0 to 2, got .* largest value 3"),
    ("shape_and_dtype", OneStopForAll, r"`stop` must return None or booleans of shape \(4,\)"),
    ("shape_and_dtype", NothingDecoded, "`decode` must return tensors, got str"),
    ("finite", LogarithmOfZero, "is not finite after 1 applications"),
    ("finite", PoleInTheReadout, r"decode\(z, c\) is not finite after 0 applications"),
    ("determinism", DropoutInTraining, "In training mode, `forward` answers differently"),
    ("determinism", CountsItsCalls, "freeze what is updated at each call"),
    ("determinism", IgnoresTheGenerator, "Pass `generator=generator`"),
    ("determinism", NoisyEncoder, "`encode` answers differently"),
    ("in_place", ClampsTheContext, "`init_state` changes c in place"),
    ("select", KeepsTheFirst, r"samples \[1\], after `select`, is off"),
    ("select", KeepsAll, "`layout` counts|off"),
    ("select", CannotSelect, "`select` raised TypeError: .*buffer"),
    ("batch_invariance", CentresTheBatch, "G of sample 0 alone is off by"),
    ("batch_invariance", StopsTogether, "`stop` says False of sample .* and True of it alone"),
    ("batch_invariance", RanksTheAnswers, "decode of sample 1 alone"),
    ("nan_isolation", MatrixOfBlocks, "NaN in the state of sample 0"),
    ("double_precision", SinglePrecisionInside, "G is still torch.float32"),
    ("derivative", UnusedParameter, "No gradient reaches extra"),
    ("derivative", LearnedStart, "No gradient reaches start"),
    ("derivative", RootAtZero, "gradient of head.weight is not finite"),
    ("gradcheck", lambda: ByHand(WrongBackward), "derivative in z is wrong"),
    ("gradcheck", lambda: Convolves(WithoutConjugate.apply), "derivative in kernel is wrong"),
    ("forward_mode", lambda: ByHand(WrongForward), "forward-mode derivative is wrong"),
    ("autocast", AddsIntoFloats, "Under bfloat16 autocast"),
    ("state_dict", PlainTensor, "scale: a tensor that is neither"),
    ("state_dict", KeepsAComputedWeight, "saved and loaded, G is off"),
    ("pickling", HoldsALambda, "keep no lambda"),
    ("solve", GivesUp, "ArithmeticError: too large .*test_operator_checks.py"),
]  # fmt: skip

# What the same fault breaks besides.
ALSO = {
    "ClampsTheContext": {"state_dict"},
    "KeepsAll": {"solve"},
    "CannotSelect": {"solve"},
}


def failures(operator, given=None, **options):
    with pytest.raises(CheckFailedError) as caught:
        check_operator(operator, x() if given is None else given, **options)
    return {r.name: r.message for r in caught.value.report.results if r.status == "failed"}


@pytest.mark.parametrize(
    ("name", "make", "sentence"), BROKEN,
    ids=[f"{name}-{getattr(make, '__name__', 'ByHand').strip('<>')}" for name, make, _ in BROKEN],
)  # fmt: skip
def test_check_names_the_fault_and_no_other_does(name, make, sentence):
    found = failures(make())
    assert name in found, found
    assert re.search(sentence, found[name]), found[name]
    assert set(found) - {name} <= ALSO.get(getattr(make, "__name__", ""), set()), found


def test_every_check_is_seen_to_fail():
    assert {name for name, _, _ in BROKEN} == {check.name for check in operator_checks()}


def test_a_cut_graph_is_a_wrong_derivative_in_both_modes():
    assert set(failures(Detached())) == {"gradcheck", "forward_mode"}


def test_batch_statistics_are_refused_with_the_remedy():
    found = failures(BatchStatistics())
    assert "GroupNorm" in found["determinism"]
    assert set(found) == {"determinism", "autocast", "solve"}  # all that train


def test_no_forward_mode_derivative_is_no_fault():
    report = check_operator(ByHand(NoForward), x(), checks=["gradcheck", "forward_mode"])
    assert report["gradcheck"].status == "passed"
    assert report["forward_mode"].status == "skipped"
    assert "Jacobian estimate of the Lipschitz curve will not run" in report["forward_mode"].message


def test_any_other_error_in_forward_mode_is_a_fault():
    class FailsOnDuals(Sound):
        def forward(self, z, c):
            if torch.autograd.forward_ad.unpack_dual(z).tangent is not None:
                raise RuntimeError("sizes do not match")
            return super().forward(z, c)

    found = failures(FailsOnDuals(), checks=["forward_mode"])
    assert "RuntimeError: sizes do not match" in found["forward_mode"]


@pytest.mark.parametrize("check", operator_checks())
def test_sound_operator(check):
    check(Sound(), x())


def test_complex_weights_pass_in_both_precisions():
    report = check_operator(Convolves(), x())
    assert report.names("passed") == [check.name for check in operator_checks()]


def test_the_affine_operator_of_the_tests_passes_whole():
    report = check_operator(AffineOperator(), x())
    assert report.names("passed") == [check.name for check in operator_checks()]


def select_systems(c, keep):
    return RaggedAffine().select(c, keep)


def test_ragged_states_pass_and_a_leak_between_graphs_is_found():
    systems = PROBLEMS[2].x
    report = check_operator(RaggedAffine(0.9), systems, select_x=select_systems)
    assert report.names("skipped") == []

    class Leaking(RaggedAffine):
        def forward(self, z, c):
            return super().forward(z, c) + 1e-6 * z.mean()

    found = failures(Leaking(0.9), systems, select_x=select_systems, skip=["pickling"])
    assert set(found) == {"select", "batch_invariance", "nan_isolation"}


def test_unknown_input_types_are_skipped_with_the_remedy():
    report = check_operator(RaggedAffine(0.9), PROBLEMS[2].x)
    assert report.names("skipped") == ["batch_invariance"]
    assert "select_x=" in report["batch_invariance"].message


def test_one_sample_is_not_enough_and_says_so():
    report = check_operator(Sound(), x(1))
    assert report.names("skipped") == ["select", "batch_invariance", "nan_isolation"]
    assert "two or more" in report["select"].message


def test_operator_and_random_numbers_are_left_as_they_were():
    operator = Tanh(matrix(DIM, 0.5))
    operator.train()
    given = x().double()
    before, state = given.clone(), torch.get_rng_state()
    check_operator(operator, given)
    assert operator.training
    assert operator.n_calls == 0  # only copies are called
    assert operator.a.grad is None
    assert torch.equal(given, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_checks_are_chosen_by_name():
    assert [c.name for c in operator_checks(checks=["solve", "finite"])] == ["finite", "solve"]
    report = check_operator(UnusedParameter(), x(), skip=["derivative"])
    assert "derivative" not in [result.name for result in report.results]
    with pytest.raises(ValueError, match=r"no check: 'derivativ'.*Did you mean 'derivative'\?"):
        check_operator(Sound(), x(), checks=["derivativ"])


def test_a_check_alone_raises_or_skips_as_a_test():
    (check,) = operator_checks(checks=["derivative"])
    assert check.__name__ == "derivative"
    assert "every trainable parameter" in check.summary
    with pytest.raises(CheckFailedError, match="FAILED   derivative"):
        check(UnusedParameter(), x())
    frozen = Sound().requires_grad_(False)
    with pytest.raises(unittest.SkipTest, match="no parameters to train"):
        check(frozen, x())


def test_the_report_is_a_table_by_name():
    report = check_operator(Sound(), x(), checks=["finite", "solve"])
    first, *lines = str(report).splitlines()
    assert report["finite"].status == "passed"
    assert first == "Sound: 2 passed, 0 failed, 0 skipped"
    assert lines[0] == "  passed   finite"
    assert lines[1].startswith("  passed   solve   after 10 iterations: Picard ")
    with pytest.raises(CheckFailedError) as caught:
        check_operator(UnusedParameter(), x(), checks=["derivative"])
    assert isinstance(caught.value, AssertionError)
    assert "UnusedParameter: 0 passed, 1 failed" in str(caught.value)


def test_something_else_is_refused():
    # Below the types that the tests check at run time, as a user of plain Python comes in.
    case = OperatorCase(Sound(), x())
    object.__setattr__(case, "operator", nn.Linear(3, 3))
    with pytest.raises(TypeError, match="must be an `AbstractOperator`, got Linear"):
        inspect.unwrap(OperatorCase.__post_init__)(case)


@pytest.mark.parametrize("path", sources("lit_implicit/testing"), ids=lambda path: path.name)
def test_pytest_is_not_imported(path):
    assert not {"pytest", "_pytest"} & {name.partition(".")[0] for name in imports(path)}
