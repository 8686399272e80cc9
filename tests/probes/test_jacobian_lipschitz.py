"""Derivatives of the iterates: an affine map has y_t = gain_t x; tanh has those of autograd."""

import pytest
import torch
from affine_task import AffineObjective, AffineOperator
from torch import nn

from lit_implicit import AbstractOperator, Equilibrium, Mode, Perturbed, Picard
from lit_implicit.errors import ObjectiveError, OperatorError
from lit_implicit.probes import LipschitzCurveProbe, jacobian_slopes

W, T = 0.5, 8
GAIN = (1 - W ** torch.arange(T + 1).double()) / (1 - W)


class TanhOperator(AbstractOperator):
    """G(z, x) = tanh(A z + B x): the derivative of y_t depends on x."""

    def __init__(self, dim=3):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.a = nn.Parameter(0.4 * torch.randn(dim, dim, generator=generator))
        self.b = nn.Parameter(torch.randn(dim, dim, generator=generator))

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return (z @ self.a + c @ self.b).tanh()


def batch(n=5, seed=0, dtype=torch.float64):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.to(dtype), (2 * x).to(dtype)


def test_slopes_equal_those_of_reverse_mode():
    layer, (x, y) = Equilibrium(TanhOperator().double()), batch()
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slopes = jacobian_slopes(layer, AffineObjective(), (x, y), T, [d])
    assert slopes.shape == (T + 1, 5)
    assert not slopes[0].any()  # y_0 = 0, whatever x

    def iterate(x, t):
        z = torch.zeros_like(x)
        for _ in range(t):
            z = layer.operator(z, x)
        return z

    for t in range(1, T + 1):
        for i in range(5):
            jacobian = torch.autograd.functional.jacobian(lambda v, t=t: iterate(v, t), x[i])
            assert torch.allclose(slopes[t, i], (jacobian @ d[i]).norm(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probe_matches_the_closed_form_and_the_pairs(dtype):
    objective = AffineObjective()
    layer = Equilibrium(AffineOperator(W).to(dtype), Picard(rtol=0.5, max_iter=2))
    probe = LipschitzCurveProbe(T, objective.modes, estimators=("jacobian",))
    pairs = LipschitzCurveProbe(T, objective.modes)
    for seed in (0, 1):
        probe.update(layer, objective, batch(4, seed, dtype))
        pairs.update(layer, objective, batch(4, seed, dtype))
    curve = probe.compute()
    # The direction is a difference of the task's, in its precision: 1e-3 in float32.
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    assert torch.allclose(curve.jacobian["input"], GAIN, rtol=tolerance)
    assert torch.allclose(curve.jacobian["input"], pairs.compute().slopes["input"], rtol=tolerance)
    assert curve.target_slopes["input"] == pytest.approx(2.0, rel=tolerance)
    assert curve.n_samples == {"input": 8}
    assert curve.columns()["jacobian_input"] == curve.jacobian["input"].tolist()
    assert layer.operator.weight.dtype == dtype


def test_probe_is_the_limit_of_pairs_for_a_nonlinear_operator():
    class Small(AffineObjective):
        def perturb(self, batch, mode, generator=None):
            x, _ = batch
            dx = 1e-6 * torch.ones_like(x)
            return Perturbed((x + dx, 2 * (x + dx)), dx.norm(dim=1), torch.ones(len(x)).bool())

    layer, objective = Equilibrium(TanhOperator().double()), Small()
    probe = LipschitzCurveProbe(T, objective.modes, estimators=("pairs", "jacobian"))
    probe.update(layer, objective, batch())
    curves = [probe.compute().slopes["input"], probe.compute().jacobian["input"]]
    # Pairs 1e-6 apart: curvature and rounding leave some 1e-6.
    assert torch.allclose(*curves, rtol=1e-5)


class Scaled(AffineObjective):
    """Perturbations of sizes that differ by sample, one of them not valid; the mode says mean."""

    @property
    def modes(self):
        return {"input": Mode("mean")}

    def perturb(self, batch, mode, generator=None):
        x, y = batch
        size = x.new_tensor([3.0**0.5, 3.0**0.5 / 2, 3.0**0.5 / 100])
        return Perturbed((x + 1, y + 2), size, torch.tensor([True, True, False]))


def test_probe_aggregates_the_valid_samples_as_the_mode_says():
    probe = LipschitzCurveProbe(2, Scaled().modes, estimators=("jacobian",))
    probe.update(Equilibrium(AffineOperator(W).double()), Scaled(), batch(3))
    curve = probe.compute()
    assert torch.allclose(curve.jacobian["input"], 1.5 * GAIN[:3])  # slopes of 1 and 2 gains
    assert curve.n_samples == {"input": 2}
    assert curve.aggregates == {"input": "mean"}


def test_a_sample_that_explodes_is_counted_and_does_not_hide_the_others():
    class Exploding(AffineOperator):
        def forward(self, z, c):
            return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)

    x, _ = batch(4)
    x[1, 0] = 100.0
    probe = LipschitzCurveProbe(2, AffineObjective().modes, estimators=("jacobian",))
    probe.update(Equilibrium(Exploding(W).double()), AffineObjective(), (x, 2 * x))
    curve = probe.compute()
    assert curve.nonfinite.tolist() == [0.0, 0.25, 0.25]
    assert torch.allclose(curve.jacobian["input"], GAIN[:3])


def test_probe_works_in_inference_mode_as_evaluation_uses_it():
    layer = Equilibrium(AffineOperator(W).double())
    probe = LipschitzCurveProbe(T, AffineObjective().modes, estimators=("jacobian",))
    with torch.inference_mode():
        probe.update(layer, AffineObjective(), batch())
    assert torch.allclose(probe.compute().jacobian["input"], GAIN)


class Packed(AffineObjective):
    """Its input is a dict with a mask, of which only one entry is differentiated."""

    def inputs(self, batch):
        return {"x": batch[0], "mask": batch[0] > 0}

    def leaves(self, x):
        return (x["x"],)

    def with_leaves(self, x, leaves):
        return {**x, "x": leaves[0]}


class PackedOperator(AffineOperator):
    def encode(self, x):
        assert x["mask"].dtype == torch.bool
        return x["x"]


def test_probe_follows_the_leaves_of_the_task():
    probe = LipschitzCurveProbe(T, Packed().modes, estimators=("jacobian",))
    probe.update(Equilibrium(PackedOperator(W).double()), Packed(), batch())
    assert torch.allclose(probe.compute().jacobian["input"], GAIN)


def test_inputs_that_are_no_tensor_need_leaves_of_their_own():
    objective = AffineObjective()
    x = torch.ones(2, 3)
    assert objective.leaves(x)[0] is x
    assert objective.with_leaves(x, [2 * x]).equal(2 * x)
    with pytest.raises(TypeError, match=r"AffineObjective.leaves` is not defined.*type dict"):
        objective.leaves({"x": x})
    with pytest.raises(ValueError, match="expected 1 leaf, got 2"):
        objective.with_leaves(x, [x, x])


def test_probe_names_an_objective_without_leaves():
    class Bare(AffineObjective):
        def inputs(self, batch):
            return {"x": batch[0]}

    probe = LipschitzCurveProbe(2, Bare().modes, estimators=("worst_pair",))
    with pytest.raises(ObjectiveError, match=r"worst_pair need leaves: `Bare.leaves` is not def"):
        probe.update(Equilibrium(AffineOperator(W).double()), Bare(), batch())


def test_function_of_torch_without_a_derivative_is_named():
    class Median(AffineOperator):
        def forward(self, z, c):
            edges = torch.linspace(-2, 2, 4, dtype=z.dtype)
            return torch.histogramdd((z + c).reshape(-1, 1), [edges])[0].sum() + 0 * z

    with pytest.raises(OperatorError, match=r"`Median` has no .*histogram.* estimator `jacobian`"):
        jacobian_slopes(Equilibrium(Median(W).double()), AffineObjective(), batch(), 2)


def test_function_without_a_derivative_is_an_error_and_leaves_nothing_open():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad

    class OpaqueOperator(AffineOperator):
        def forward(self, z, c):
            return super().forward(Opaque.apply(z + c), c)

    for _ in range(2):  # a level left open would change the second message
        with pytest.raises(OperatorError, match=r"`OpaqueOperator` has no .*jvp.*leave out"):
            jacobian_slopes(Equilibrium(OpaqueOperator(W).double()), AffineObjective(), batch(), 2)


def test_probe_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match="n_iter` must be at least 1, got 0"):
        LipschitzCurveProbe(0, AffineObjective().modes, estimators=("jacobian",))
    with pytest.raises(ValueError, match="no modes of perturbation"):
        LipschitzCurveProbe(2, {}, estimators=("jacobian",))
    layer = Equilibrium(AffineOperator(W).double())
    with pytest.raises(ValueError, match=r"shapes of the leaves, \[\(5, 3\)\], got \[\(5,\)\]"):
        jacobian_slopes(layer, AffineObjective(), batch(), 2, [torch.ones(5)])
