"""The regularity report against closed forms: affine maps, and operators that break one rule."""

import math

import pytest
import torch
from affine_task import AffineObjective, AffineOperator
from problems import matrix, random
from torch import nn

from lit_implicit import AbstractOperator, Anderson, Equilibrium, Perturbed, Picard
from lit_implicit.errors import ConfigError
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes import RegularityProbe
from lit_implicit.probes.iterates import seed_of_batch
from lit_implicit.probes.regularity_words import regularity_numbers, say_regularity
from lit_implicit.probes.statistics import fit_exponent, statistics_of


def batch(n=6, seed=0, scale=1.0):
    x = scale * random(n, 3, seed=seed)
    return x, 2 * x


def measure(operator, *batches, objective=None, solver=None, **settings):
    objective = objective or AffineObjective()
    probe = RegularityProbe(objective.modes, **settings)
    for some in batches or (batch(),):
        probe.update(Equilibrium(operator, solver), objective, some)
    return probe.compute()


class Dense(AbstractOperator):
    """G(z, x) = z A + x."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a)

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return z @ self.a + c


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("w", [0.5, -0.8])
def test_bound_is_tight_for_a_multiple_of_the_identity(w, dtype):
    report = measure(AffineOperator(w).to(dtype), batch(), batch(seed=1))
    assert report.n_samples == len(report.factor) == 12
    # A weight of -0.8 is one of float32, to 1e-8.
    assert torch.allclose(report.factor, report.factor.new_tensor(abs(w)), rtol=1e-7)
    assert torch.allclose(report.spectral_radius, report.factor, rtol=1e-7)
    assert torch.allclose(report.factor_near, report.factor[:, None], rtol=1e-7)
    assert torch.allclose(report.quotient, report.factor[:, None], rtol=1e-7)
    assert torch.allclose(report.slope, torch.ones_like(report.slope), rtol=1e-9)
    expected = report.measured.new_tensor(1 / (1 - w))
    assert torch.allclose(report.measured, expected, rtol=1e-6)
    assert torch.allclose(report.bound, expected.new_tensor(1 / (1 - abs(w))), rtol=1e-6)
    assert report.holds == 1
    tight = 1.0 if w > 0 else (1 - abs(w)) / (1 + abs(w))
    assert torch.allclose(report.tightness, expected.new_tensor(tight), rtol=1e-6)
    assert report.n_left_out == report.n_not_applicable == report.n_unresolved == 0


def test_bound_and_slope_of_a_dense_system_are_those_of_linear_algebra():
    a = matrix(3, 0.7, seed=4)
    objective, some = AffineObjective(), batch()
    generator = torch.Generator().manual_seed(seed_of_batch(0, 1))
    d = objective.perturb(some, "input", generator).batch[0] - some[0]
    report = measure(Dense(a), some)
    dz = torch.linalg.solve(torch.eye(3).double() - a.T, d.T).T
    expected = dz.norm(dim=1) / d.norm(dim=1)
    assert torch.allclose(report.measured[:, 0], expected, rtol=1e-6)
    assert torch.allclose(report.bound, expected.new_tensor(1 / 0.3), rtol=1e-6)
    assert report.holds == 1
    assert report.envelope == pytest.approx((1.0, 0.0), abs=1e-9)


def test_an_expanding_operator_has_no_bound_and_its_fixed_points_are_found_all_the_same():
    report = measure(AffineOperator(-1.5).double(), solver=Anderson(depth=4))
    assert torch.allclose(report.factor, report.factor.new_tensor(1.5), rtol=1e-9)
    assert report.contracting == 0
    assert report.n_not_applicable == 6
    assert report.bound.isnan().all()
    assert math.isnan(report.holds)
    lines = say_regularity(report)
    assert lines[0].startswith("regularity: G contracts at the fixed points of 0 % of 6 samples")
    assert lines[2] == "regularity: no bound for 6 pairs, as the factor is 1 or more"


class Mixed(AffineOperator):
    """Contracts or expands with the sign of the first number of x, or is not finite."""

    def forward(self, z, c):
        w = torch.where(c[:, :1] > 0, 0.5, 2.0)
        return w * z + c + torch.where(c[:, :1] > 50, float("nan"), 0.0)


def test_samples_without_a_fixed_point_are_left_out_and_counted():
    x = torch.tensor([[1.0, 2, 3], [-1, 2, 3], [2, 0, 1], [100, 0, 0]], dtype=torch.float64)
    report = measure(Mixed(), (x, 2 * x), solver=Picard())
    assert report.n_samples == 4
    assert report.n_left_out == 2
    assert torch.allclose(report.factor, x.new_tensor([0.5, 0.5]))
    assert torch.allclose(report.measured, x.new_tensor(2.0), rtol=1e-6)
    first = say_regularity(report)[0]
    assert "2 of 4 samples reached no fixed point (relative residual above 0.0001)" in first


def test_a_batch_without_any_fixed_point_gives_an_empty_report():
    report = measure(AffineOperator(2.0), solver=Picard())
    assert report.n_left_out == report.n_samples == 6
    assert report.bound.shape == report.valid.shape == (0, 1)
    assert report.slope.shape == (0, 7)
    assert math.isnan(report.contracting)
    assert math.isnan(report.growth_exponent)
    (line,) = say_regularity(report)
    assert line.startswith("regularity: 6 of 6 samples reached no fixed point")
    assert regularity_numbers(report)["contraction_factor"]["n"] == 0


class Power(AffineOperator):
    """G(z, x) = w z + (1 + |z|^p) x: its slope in x grows like |z|^p."""

    def __init__(self, p):
        super().__init__(0.1)
        self.p = p

    def forward(self, z, c):
        size = (z.square().sum(1, keepdim=True) + 1e-12).sqrt()
        return z @ self.weight + (1 + size**self.p) * c


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0])
def test_growth_of_the_slope_with_the_state_has_the_exponent_of_the_operator(p):
    report = measure(Power(p).double(), batch(scale=0.05), solver=Picard())
    assert report.growth_exponent == pytest.approx(p, abs=1e-3)
    assert report.grows_at_most_linearly == (p <= 1)
    assert torch.allclose(report.slope, 1 + report.size**p, rtol=1e-3)
    a, b = report.envelope
    assert a == pytest.approx(1.0, rel=2e-3)  # 1e-12 to the power p / 2
    assert (report.slope <= a + b * report.size + 1e-9).all()
    words = "at most linearly" if p <= 1 else "faster than linearly"
    assert f"slope in x grows {words} with |z|" in say_regularity(report)[1]


def test_a_constant_part_that_cancels_does_not_look_like_growth():
    class Cancelling(AffineOperator):
        def forward(self, z, c):  # slope |1 - z|, next to zero at z*
            return 0.5 * z + (c - c * z)

    x = torch.tensor([[0.99] * 3], dtype=torch.float64)
    report = measure(Cancelling(), (x, 2 * x), solver=Anderson())
    assert report.growth_exponent == pytest.approx(1.0, abs=1e-6)


class NoPerturbations(AffineObjective):
    def perturb(self, batch, mode, generator=None):
        raise ConfigError("Add the split to `data.perturb_splits`.")


class NoModes(AffineObjective):
    @property
    def modes(self):
        return {}


@pytest.mark.parametrize("objective", [NoPerturbations(), NoModes()])
def test_without_perturbations_contraction_alone_is_measured(objective):
    report = measure(AffineOperator(0.5), objective=objective)
    assert torch.allclose(report.factor, report.factor.new_tensor(0.5))
    assert report.slope.isnan().all()
    assert not report.valid.any()
    assert report.n_unresolved == report.n_not_applicable == 0
    lines = say_regularity(report)
    assert lines[1] == (
        "regularity: slope in x not measured, as these data hold no perturbations; the task states "
        "no singular set"
    )
    assert len(lines) == 2


class Partly(AffineObjective):
    def perturb(self, batch, mode, generator=None):
        p = super().perturb(batch, mode, generator)
        return Perturbed(p.batch, p.size, torch.arange(len(p.size)) > 1)


def test_pairs_that_are_not_valid_are_left_out():
    report = measure(AffineOperator(0.5), objective=Partly())
    assert report.valid.sum() == report.applicable.sum() == 4
    assert report.slope[:2].isnan().all()
    assert torch.allclose(report.slope[2:], report.slope.new_tensor(1.0), rtol=1e-5)


def test_no_more_than_max_samples_are_measured():
    report = measure(AffineOperator(0.5), batch(4), batch(4, 1), batch(4, 2), max_samples=6)
    assert report.n_samples == 6


def test_probe_works_in_inference_mode_and_leaves_the_model_alone():
    operator, objective = AffineOperator(0.5), AffineObjective()
    with torch.inference_mode():
        probe = RegularityProbe(objective.modes).to("cpu")
        x, y = (part.clone() for part in batch())
        probe.update(Equilibrium(operator), objective, (x, y))
    assert torch.allclose(probe.compute().factor, x.new_tensor(0.5))
    assert operator.weight.dtype == torch.float32
    assert operator.weight.requires_grad
    assert operator.training


def test_ranks_merge_by_their_samples():
    objective, parts = AffineObjective(), (batch(4), batch(3, seed=1))
    whole = measure(Power(1.0).double(), *parts, solver=Picard())
    ranks = []
    for part in parts:
        probe = RegularityProbe(objective.modes)
        probe.update(Equilibrium(Power(1.0).double(), Picard()), objective, part)
        ranks.append(probe)
    for name, reduce in ranks[0]._reductions.items():
        values = [getattr(rank, name) for rank in ranks]
        if isinstance(values[0], list):
            merged = [part for value in values for part in value]
        else:
            merged = reduce(torch.stack(values))
        setattr(ranks[0], name, merged)
    report = ranks[0].compute()
    assert report.n_samples == whole.n_samples == 7
    assert torch.allclose(report.factor, whole.factor, rtol=1e-9)
    assert report.growth_exponent == pytest.approx(whole.growth_exponent, rel=1e-9)


def test_columns_have_a_row_per_sample():
    report = measure(AffineOperator(0.5))
    columns = report.columns()
    assert {len(values) for values in columns.values()} == {6}
    assert columns["lipschitz_x_at_64"] == pytest.approx([1.0] * 6)
    assert columns["solution_slope_input"] == pytest.approx([2.0] * 6, rel=1e-4)


def test_a_single_sample_has_its_axes_too():
    report = measure(AffineOperator(0.5), batch(n=1))
    assert report.factor.shape == (1,)
    assert report.measured.shape == (1, len(report.modes))
    rows = report.columns()
    assert rows["sample"] == [0.0]
    assert rows["contraction_factor"] == pytest.approx([0.5])


def test_default_shell_is_none():
    assert AbstractObjective.shell(AffineObjective(), batch(), 0.1) is None


def test_exponents_are_fitted_to_what_has_a_logarithm():
    x = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert fit_exponent(x, 3 * x**-2) == pytest.approx(-2)
    assert fit_exponent(x, torch.tensor([0.0, 2.0, float("inf"), 8.0])) == pytest.approx(1)
    assert fit_exponent(x, torch.zeros(4)) == 0
    assert math.isnan(fit_exponent(x, torch.tensor([0.0, 0.0, 0.0, 1.0])))
    assert statistics_of(torch.tensor([1.0, float("nan"), 3.0]))["mean"] == 2


@pytest.mark.parametrize(
    "settings", [{"n_steps": 0}, {"radii": (0.0,)}, {"scales": (1.0, 2.0)}, {"distances": (-1.0,)},
                 {"max_iter": 0}, {"rtol": 0.0}, {"max_samples": 0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"`RegularityProbe.{next(iter(settings))}` must"):
        RegularityProbe(AffineObjective().modes, **settings)
