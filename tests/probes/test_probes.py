"""Curves against closed forms: z = w z + x from 0 has y_t = (1 - w^t) / (1 - w) x."""

import math

import pytest
import torch
from affine_task import AffineObjective, AffineOperator
from torch import nn

from lit_implicit import AbstractOperator, Anderson, Equilibrium, Mode, Perturbed, Picard
from lit_implicit.probes import (
    LipschitzCurveProbe,
    RegularityProbe,
    TestTimeCurveProbe,
    iterates,
    measure_test_time_curve,
)
from lit_implicit.probes.double import double_model
from lit_implicit.probes.iterates import seed_of_batch

W, T = 0.5, 8
GAIN = (1 - W ** torch.arange(T + 1).double()) / (1 - W)


def equilibrium(dtype=torch.float64):
    # A solver that would stop at once: probes must not listen to it.
    return Equilibrium(AffineOperator(W).to(dtype), Picard(rtol=0.5, max_iter=2))


def batch(n=5, seed=0, dtype=torch.float64):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.to(dtype), (2 * x).to(dtype)


def test_iterates_are_those_of_plain_iteration_and_ignore_tolerances():
    x, _ = batch()
    layer = equilibrium()
    with torch.no_grad():
        items = list(iterates(layer, x, T))
    assert len(items) == T + 1
    for t, item in enumerate(items):
        assert torch.allclose(item.y, GAIN[t] * x, rtol=1e-14)
        # |G(z_t) - z_t| / |G(z_t)| = w^t |x| / (gain_{t+1} |x|)
        ratio = W**t / ((1 - W ** (t + 1)) / (1 - W))
        assert torch.allclose(item.relative_residual, torch.full((5,), ratio).double(), rtol=1e-8)


def test_iterates_follow_another_solver_when_told():
    x, _ = batch()
    with torch.no_grad():
        damped = list(iterates(equilibrium(), x, 1, Picard(0.25)))
    assert torch.allclose(damped[1].y, 0.25 * x)


def test_test_time_curve_matches_the_closed_form_over_batches():
    probe, batches = TestTimeCurveProbe(T, rtol=0.1), [batch(5, 0), batch(2, 1)]
    for one in batches:
        probe.update(equilibrium(), AffineObjective(), one)
    curve = probe.compute()
    norms = torch.cat([x for x, _ in batches]).norm(dim=1)
    errors = (2 - GAIN)[:, None] * norms
    assert torch.allclose(curve.error_mean, errors.mean(1))
    assert torch.allclose(curve.error_std, errors.std(1, correction=0))
    assert torch.allclose(curve.error_median, errors.median(1).values)
    assert curve.n_samples == 7
    # w^t / gain_{t+1} is at most 0.1 from t = 3 on: 0.125 / 1.875.
    assert curve.converged.tolist() == [0.0] * 3 + [1.0] * (T - 2)
    assert curve.scores == {}
    columns = curve.columns()
    assert columns["t"] == list(range(T + 1))
    assert {len(values) for values in columns.values()} == {T + 1}


class Scored(AffineObjective):
    @property
    def scores(self):
        return {"first": lambda y, b: y[:, 0], "squared": lambda y, b: self.error(y, b).square()}


def test_test_time_curve_holds_the_means_of_the_scores_of_samples_that_stay_finite():
    one = batch(5)
    one[0][2] = torch.nan
    curve = measure_test_time_curve(equilibrium(), Scored(), [one], T)
    x = one[0][[0, 1, 3, 4]]
    assert torch.allclose(curve.scores["first"], GAIN * x[:, 0].mean())
    squared = (2 - GAIN).square() * x.square().sum(1).mean()
    assert torch.allclose(curve.scores["squared"], squared)
    columns = curve.columns()
    assert columns["squared_mean"] == curve.scores["squared"].tolist()
    assert "scores" not in columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lipschitz_curve_matches_the_closed_form(dtype):
    objective = AffineObjective()
    probe = LipschitzCurveProbe(T, objective.modes)
    for seed in (0, 1):
        probe.update(equilibrium(dtype), objective, batch(4, seed, dtype))
    curve = probe.compute()
    # The task perturbs in the batch's dtype, by 1e-3: float32 leaves 1e-4 of the quotient.
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    assert torch.allclose(curve.slopes["input"], GAIN, rtol=tolerance)
    assert curve.target_slopes["input"] == pytest.approx(2.0, rel=tolerance)
    assert curve.n_samples == {"input": 8}
    assert curve.columns()["lipschitz_input"] == curve.slopes["input"].tolist()


class TwoSizes(AffineObjective):
    """Slopes that differ by sample, one of them not valid."""

    @property
    def modes(self):
        return {"largest": Mode("max"), "average": Mode("mean")}

    def perturb(self, batch, mode, generator=None):
        x, y = batch
        dx = torch.ones_like(x)
        # Sizes are wrong on purpose: quotients of 1, 2 and 100 times the gain.
        size = dx.norm(dim=1) / torch.tensor([1.0, 2.0, 100.0])
        return Perturbed((x + dx, y + 2 * dx), size, torch.tensor([True, True, False]))


def test_lipschitz_curve_aggregates_valid_pairs_as_the_mode_says():
    objective = TwoSizes()
    probe = LipschitzCurveProbe(2, objective.modes)
    probe.update(equilibrium(), objective, batch(3))
    curve = probe.compute()
    assert torch.allclose(curve.slopes["largest"], 2 * GAIN[:3])
    assert torch.allclose(curve.slopes["average"], 1.5 * GAIN[:3])
    assert curve.n_samples == {"largest": 2, "average": 2}


def test_float32_would_not_do_for_small_pairs():
    # Pairs 1e-7 apart around x = 100: float32 cannot tell them apart, its copy in float64 can.
    class Close(AffineObjective):
        def inputs(self, batch):
            return batch[0]

        def perturb(self, batch, mode, generator=None):
            x = batch[0] + 1e-7
            return Perturbed((x, 2 * x), torch.full((len(x),), 1e-7 * 3**0.5).double(),
                             torch.ones(len(x), dtype=torch.bool))  # fmt: skip

    x = torch.full((2, 3), 100.0).double()
    slopes = {}
    for double in (True, False):
        probe = LipschitzCurveProbe(3, Close().modes, double=double)
        batch = (x, 2 * x) if double else (x.float(), 2 * x.float())
        probe.update(equilibrium(torch.float32), Close(), batch)
        slopes[double] = probe.compute().slopes["input"]
    assert torch.allclose(slopes[True], GAIN[:4], rtol=1e-6)
    assert not slopes[False].any()


class Exploding(AffineOperator):
    """Samples whose first entry is above 50 become NaN at the first step."""

    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)


def test_a_sample_that_explodes_is_counted_and_does_not_hide_the_others():
    x, _ = batch(4)
    x[1, 0] = 100.0
    layer, objective = Equilibrium(Exploding(W).double()), AffineObjective()
    error, slope = TestTimeCurveProbe(2), LipschitzCurveProbe(2, objective.modes)
    error.update(layer, objective, (x, 2 * x))
    slope.update(layer, objective, (x, 2 * x))
    errors = (2 - GAIN[:3])[:, None] * x[[0, 2, 3]].norm(dim=1)
    # Its residual at t = 0 is not finite already, though y_0 is.
    assert error.compute().nonfinite.tolist() == [0.25] * 3
    assert torch.allclose(error.compute().error_mean, errors.mean(1))
    assert slope.compute().nonfinite.tolist() == [0.0, 0.25, 0.25]
    assert torch.allclose(slope.compute().slopes["input"], GAIN[:3], rtol=1e-10)


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_a_slope_that_no_sample_has_is_nan(aggregate):
    class Aggregated(AffineObjective):
        @property
        def modes(self):
            return {"input": Mode(aggregate)}

    x, _ = batch(4)
    probe = LipschitzCurveProbe(2, Aggregated().modes)
    probe.update(Equilibrium(Exploding(W).double()), Aggregated(), (x + 1000, 2 * x))
    curve = probe.compute()
    assert curve.nonfinite.tolist() == [0.0, 1.0, 1.0]
    assert curve.slopes["input"].tolist() == pytest.approx([0, math.nan, math.nan], nan_ok=True)


def test_lipschitz_curve_starts_both_runs_alike_where_starts_are_drawn():
    class RandomStart(AbstractOperator):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(W))

        def init_state(self, c, generator=None):
            return torch.randn(c.shape, generator=generator, dtype=c.dtype)

        def forward(self, z, c):
            return self.w * z + c

    objective = AffineObjective()
    probe = LipschitzCurveProbe(3, objective.modes)
    probe.update(Equilibrium(RandomStart().double()), objective, batch())
    assert torch.allclose(probe.compute().slopes["input"], GAIN[:4])


def test_probes_leave_the_model_as_it_was():
    layer = equilibrium(torch.float32)
    objective = AffineObjective()
    probe = LipschitzCurveProbe(2, objective.modes)
    probe.update(layer, objective, batch(dtype=torch.float32))
    assert layer.operator.weight.dtype == torch.float32


def test_model_is_copied_once_but_never_stale(monkeypatch):
    from lit_implicit.probes import double

    copies = []
    original = double.copy.deepcopy

    def noting(x, *memo):
        copies.extend([x] if isinstance(x, AffineOperator) else [])
        return original(x, *memo)

    monkeypatch.setattr(double.copy, "deepcopy", noting)
    layer, objective = equilibrium(torch.float32), AffineObjective()
    probe = LipschitzCurveProbe(2, objective.modes)
    for seed in range(3):
        probe.update(layer, objective, batch(4, seed, torch.float32))
    assert len(copies) == 1
    with torch.no_grad():
        layer.operator.weight.mul_(2)  # as an optimizer does
    probe.reset()
    for seed in range(2):
        probe.update(layer, objective, batch(4, seed, torch.float32))
    assert len(copies) == 2
    with torch.no_grad():
        layer.operator.weight.zero_()  # even without a reset
    probe.update(layer, objective, batch(4, 0, torch.float32))
    assert len(copies) == 3
    # W twice as large: 1 + 1 = 2 at t = 2; the last batch has 1, and the largest counts.
    assert probe.compute().slopes["input"].tolist() == pytest.approx([0, 1, 2], rel=1e-3)


def test_complex_weights_are_widened_too():
    class Complex(AffineOperator):
        def __init__(self):
            super().__init__()
            self.turn = nn.Parameter(torch.ones(3, dtype=torch.cfloat))

    wide = double_model(Equilibrium(Complex())).operator
    assert (wide.weight.dtype, wide.turn.dtype) == (torch.float64, torch.complex128)
    assert double_model(Equilibrium(wide)).operator is wide


def test_each_batch_of_each_rank_draws_perturbations_of_its_own(monkeypatch):
    drawn = []

    class Noting(AffineObjective):
        def perturb(self, batch, mode, generator=None):
            drawn.append(generator.initial_seed())
            return super().perturb(batch, mode, generator)

    def seeds(probe):
        drawn.clear()
        for _ in range(2):
            probe.update(equilibrium(), Noting(), batch())
        return tuple(drawn)

    first = seeds(LipschitzCurveProbe(1, Noting().modes, seed=3))
    assert first == seeds(LipschitzCurveProbe(1, Noting().modes, seed=3))
    assert first == seeds(RegularityProbe(Noting().modes, n_steps=1, seed=3))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert len({*first, *(seed_of_batch(3, i) for i in (1, 2))}) == 4


def test_all_estimators_agree_on_an_affine_map_in_one_curve():
    class Mean(AffineObjective):
        @property
        def modes(self):
            return {"input": Mode("mean")}

    probe = LipschitzCurveProbe(
        T, Mean().modes, estimators=("pairs", "jacobian", "worst_pair"), worst_pair_at=(1, 4)
    )
    with torch.inference_mode():
        probe.update(equilibrium(torch.float32), Mean(), batch(4, dtype=torch.float32))
    curve = probe.compute()
    assert curve.worst_pair_aggregate == "mean"
    columns = curve.columns()
    assert list(columns) == [
        "t",
        "lipschitz_input",
        "jacobian_input",
        "worst_pair",
        "nonfinite_pairs",
    ]
    for name in list(columns)[1:3]:
        assert columns[name] == pytest.approx(GAIN.tolist(), rel=1e-3)
    measured = {t: v for t, v in enumerate(columns["worst_pair"]) if v == v}
    assert measured == pytest.approx({1: GAIN[1].item(), 4: GAIN[4].item()}, rel=1e-3)


def test_probes_refuse_what_they_cannot_measure():
    with pytest.raises(ValueError, match="n_iter` must be at least 1, got 0"):
        TestTimeCurveProbe(0)
    with pytest.raises(ValueError, match="no modes of perturbation"):
        LipschitzCurveProbe(3, {})
    modes = AffineObjective().modes
    with pytest.raises(ValueError, match="estimators jacobian and worst_pair follow Picard"):
        LipschitzCurveProbe(3, modes, Anderson(), estimators=("jacobian",))
    with pytest.raises(ValueError, match=r"worst_pair_at` must lie in 0\.\.3, got \[5\]"):
        LipschitzCurveProbe(3, modes, estimators=("worst_pair",), worst_pair_at=[5])
    with pytest.raises(ValueError, match=r"estimators` must be some of pairs, .*, got \[\]"):
        LipschitzCurveProbe(3, modes, estimators=())
