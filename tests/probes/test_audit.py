"""Audits of maps whose behaviour far past the training depth is known in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from affine_task import AffineObjective
from problems import Affine, RaggedAffine, RaggedObjective, random, systems

from lit_implicit import (
    AbstractOperator,
    Anderson,
    Broyden,
    Equilibrium,
    Implicit,
    JacobianFree,
    Neumann,
    Picard,
    Unrolled,
)
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes import EquilibriumAuditProbe, audit
from lit_implicit.probes.iterates import seed_of_batch

W, DEPTH, T = 0.8, 5, 50
POWERS = W ** torch.arange(T + 1).double()


def ask(operator, batches, solver=None, adjoint=None, depth=DEPTH, objective=None, **settings):
    # A solver that would stop at once: probes must not listen to it.
    layer = Equilibrium(operator, solver or Picard(rtol=1e-4, max_iter=1), adjoint)
    return audit(layer, objective or AffineObjective(), batches, depth, **settings)


def affine(w=W, n=6, seed=1):
    """z = w z + x in three dimensions, and a batch with its exact fixed points."""
    x = random(n, 3, seed=seed)
    return Affine(w * torch.eye(3, dtype=torch.float64)), (x, x / (1 - w))


def test_a_contraction_passes_with_the_numbers_of_its_closed_form():
    operator, batch = affine()
    found = ask(operator, [batch])
    norm = batch[1].norm(dim=1).mean()
    assert torch.allclose(found.error_mean, POWERS * norm, rtol=1e-9)
    # Both runs forget their starts alike: z_T' - z_T = w^T z_0', and z_0' has the size of z_T.
    assert torch.allclose(found.path_differences, torch.full((6,), W**T).double(), rtol=1e-6)
    ratio = [W**t * (1 - W) / (1 - W ** (t + 1)) for t in range(T + 1)]
    assert torch.allclose(found.relative_residual, torch.tensor(ratio).double(), rtol=1e-7)
    assert found.rate == pytest.approx(W)
    assert found.converged.tolist() == [float(r <= 1e-4) for r in ratio]
    assert (found.path_independent, found.stuck, found.ever_nonfinite) == (1, 0, 0)
    assert found.error_from_random < 2 * W**T * norm
    assert found.over_iteration == 1
    assert found.t_least == T
    assert found.is_equilibrium is True
    assert found.verdict.startswith("audit: an equilibrium. Trained by implicit differentiation")


@pytest.mark.parametrize("solver", [Picard(0.5), Anderson(), Broyden()], ids=repr)
def test_the_iteration_is_that_of_the_solver_and_survives_its_own_convergence(solver):
    operator, batch = affine()
    found = ask(operator, [batch], solver, depth=10)
    assert found.is_equilibrium is True
    assert found.iteration.startswith(type(solver).__name__)
    if isinstance(solver, Picard):  # the damped factor is (1 + w) / 2
        assert float(found.path_difference[-1]) == pytest.approx(0.9**100, rel=1e-6)
        assert found.iteration == "Picard(damping=0.5)"


def test_rounding_is_no_rise_of_the_error():
    operator, batch = affine(0.5)
    found = ask(operator.float(), [tuple(part.float() for part in batch)], factor=40)
    assert found.is_equilibrium is True
    assert found.rate == pytest.approx(0.5, rel=1e-2)  # of the part above rounding


def test_a_slow_contraction_is_undecided():
    operator, batch = affine(0.95)
    found = ask(operator, [batch], depth=4)
    assert found.is_equilibrium is None
    assert (found.still_falling, found.approaching, found.stuck) == (1, 1, 0)
    assert "100 % are on the way" in found.verdict
    assert found.verdict.startswith("audit: undecided.")


def test_a_contraction_by_half_a_per_cent_is_on_the_way_and_no_counterexample():
    operator, batch = affine(0.995)
    found = ask(operator, [batch], depth=5)  # 0.995^(T / 2) = 0.88
    assert (found.still_falling, found.approaching, found.stuck, found.elsewhere) == (1, 1, 0, 0)
    assert found.is_equilibrium is None


def test_a_rotation_comes_no_closer():
    a = torch.tensor([[0, -1], [1, 0]], dtype=torch.float64)
    x = random(4, 2)
    z_star = torch.linalg.solve(torch.eye(2) - a, x[..., None])[..., 0]
    found = ask(Affine(a), [(x, z_star)])
    # From 0, all iterates are at the same distance from the fixed point.
    assert torch.allclose(found.error_mean, z_star.norm(dim=1).mean().expand(T + 1))
    assert found.over_iteration == 1
    assert (found.stuck, found.elsewhere) == (1, 1)
    # |R^T z_0'| = |z_0'| = |z_T|
    assert torch.allclose(found.path_differences, torch.ones(4).double())
    assert found.is_equilibrium is False


def test_an_expansion_fails_by_over_iteration():
    operator, batch = affine(1.1)
    found = ask(operator, [batch])
    assert found.t_least == 0
    assert found.over_iteration == pytest.approx(1.1**T)
    assert (found.stuck, found.elsewhere, float(found.converged[-1])) == (1, 1, 0)
    assert found.rate == pytest.approx(1.1)
    assert found.is_equilibrium is False
    assert f"{1.1**T:.3g} times the least" in found.verdict


class Offset(AffineObjective):
    """An error that is at least 1, so that ratios of errors are plain."""

    def error(self, y, batch):
        return 1 + super().error(y, batch)


@pytest.mark.parametrize("k", [3, DEPTH, 7])
def test_the_least_error_is_found_and_the_rise_after_it(k):
    operator, (x, z_star) = affine()
    # The target is y_k: what a network does that was trained for k steps.
    found = ask(operator, [(x, (1 - W**k) * z_star)], objective=Offset(), adjoint=Unrolled())
    size = float(z_star.norm(dim=1).mean())
    assert found.t_least == k
    assert found.over_iteration == pytest.approx(1 + (W**k - W**T) * size)
    assert float(found.error_mean[DEPTH]) == pytest.approx(1 + abs(W**k - W**DEPTH) * size)
    assert found.is_equilibrium is False
    assert "not an equilibrium. Trained by unrolling 5 steps;" in found.verdict
    assert ("rises past the training depth of 5" in found.verdict) is (k >= DEPTH)
    # The iteration itself is sound, and the verdict says so.
    assert "100 % of the samples converge" in found.verdict
    least = {3: "1 at its least (t = 3)", 5: "1 there, its least", 7: "1 at its least (t = 7)"}
    assert least[k] in found.verdict


def test_an_equilibrium_whose_earlier_iterate_is_better_stays_one():
    operator, (x, z_star) = affine(0.5)
    # 2^-20 of the way is left at the training depth: no rise past it, but one of 12 % before.
    size = z_star.norm(dim=1, keepdim=True)
    target = (1 - 0.5**3) * z_star
    found = ask(operator, [(x / size, target / size)], objective=Offset(), depth=20)
    assert found.t_least == 3
    assert found.over_iteration == pytest.approx(1 + 0.5**3)
    assert not found.error_rises_past_training
    assert found.is_equilibrium is True
    assert "an equilibrium, though an earlier iterate has the least error." in found.verdict
    assert "its error is least before the training depth: 1 at its least (t = 3)" in found.verdict


class Bistable(Affine):
    """z = tanh(3 z) + x: for small x, two attracting fixed points, one of each sign."""

    def forward(self, z, c):
        return (3 * z).tanh() + c


def test_a_bistable_map_converges_but_depends_on_the_start():
    x = 1e-3 * random(40, 1)
    z_star = torch.zeros_like(x)
    for _ in range(500):
        z_star = (3 * z_star).tanh() + x
    found = ask(Bistable(torch.eye(1)), [(x, z_star)], n_starts=1, seed=3)
    # From 0 the sign is that of x; from far off, that of the start, drawn for this first batch.
    start = torch.randn(40, 1, generator=torch.Generator().manual_seed(seed_of_batch(3, 1)))
    share = float((start.sign() == x.sign()).double().mean())
    assert 0.2 < share < 0.8
    assert (found.path_independent, found.elsewhere) == pytest.approx((share, 1 - share))
    assert float(found.path_differences.max()) == pytest.approx(2, rel=1e-2)
    assert float(found.converged[-1]) == 1
    assert not found.error_rises
    assert found.is_equilibrium is False
    assert f"from 1 random start {round(100 * share, 1):g} % end at the same state" in found.verdict


class Peeking(Affine):
    """A map that looks at its batch mates, as one with batch statistics does."""

    def forward(self, z, c):
        return super().forward(z, c) + 0.1 * z.mean(0)


def test_a_map_that_looks_at_its_batch_mates_is_caught():
    operator, (x, target) = affine(n=2)
    found = ask(Peeking(operator.a.data), [(x, target)])
    # Of two samples, each half is one alone, whose mean is itself; z_0 = 0 and z_1 = x.
    expected, z = 0.0, torch.zeros_like(x)
    for t in range(DEPTH + 1):
        gz = W * z + x + 0.1 * z.mean(0)
        if t in (0, 1, DEPTH):
            difference = 0.1 * (z - z.mean(0)).norm(dim=1) / gz.norm(dim=1)
            expected = max(expected, float(difference.max()))
        z = gz
    assert found.batch_difference == pytest.approx(expected, rel=1e-6)
    assert found.is_equilibrium is False
    assert "batch mates change G by up to" in found.verdict


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_mates_do_not_matter_where_a_map_keeps_to_its_sample(dtype):
    operator, batch = affine()
    found = ask(operator.to(dtype), [tuple(part.to(dtype) for part in batch)])
    assert found.batch_difference <= found.batch_tolerance == math.sqrt(torch.finfo(dtype).eps)
    assert "batch mates do not matter" in found.verdict


def test_one_sample_has_no_batch_mates():
    operator, batch = affine(n=1)
    found = ask(operator, [batch])
    assert found.batch_difference is None
    assert found.is_equilibrium is True
    assert "was not tested" in found.verdict


class Exploding(Affine):
    """Samples whose first entry is above 50 become NaN at the third step."""

    def forward(self, z, c):
        bad = (c[:, :1] > 50) & (z.norm(dim=1, keepdim=True) > 1.5 * c.norm(dim=1, keepdim=True))
        return super().forward(z, c) * torch.where(bad, float("nan"), 1.0)


def test_samples_that_are_not_finite_are_counted_and_hide_no_other():
    operator, (x, target) = affine(n=8)
    x[[1, 4], 0] = 100.0
    found = ask(Exploding(operator.a.data), [(x, target)])
    # z_2 = 1.8 x is the first that G maps to NaN.
    assert found.nonfinite.tolist() == [0, 0] + [0.25] * (T - 1)
    assert found.ever_nonfinite == 0.25
    rest = [0, 2, 3, 5, 6, 7]
    norm = target[rest].norm(dim=1).mean()
    assert torch.allclose(found.error_mean, POWERS * norm, rtol=1e-9)
    assert (float(found.converged[-1]), found.path_independent, found.elsewhere) == (0.75, 0.75, 0)
    assert len(found.path_differences) == 6
    assert found.is_equilibrium is False
    assert "25 % are not finite" in found.verdict


def test_a_batch_without_a_finite_sample_has_a_verdict():
    operator, (x, target) = affine(n=2)
    found = ask(Exploding(operator.a.data), [(x + 1000, target)])
    assert found.is_equilibrium is False
    assert "no sample stays finite" in found.verdict
    assert math.isnan(found.over_iteration)  # not 1, which would say that no error rises


def test_ragged_states_are_scaled_and_compared_sample_by_sample():
    factors, sizes = (0.5, 0.8, 0.9), (3, 7, 2)
    parts = [
        (w * torch.eye(n, dtype=torch.float64), 10.0**i * random(n, seed=n))
        for i, (w, n) in enumerate(zip(factors, sizes, strict=True))
    ]
    c = systems(*parts)
    target = torch.cat([b / (1 - w) for w, (_, b) in zip(factors, parts, strict=True)])
    found = ask(RaggedAffine(), [(c, target)], objective=RaggedObjective(), depth=10)
    expected = torch.tensor(factors, dtype=torch.float64) ** 100
    assert torch.allclose(found.path_differences, expected, rtol=1e-6, atol=1e-15)
    assert found.batch_difference == pytest.approx(0, abs=1e-15)
    assert found.is_equilibrium is True


def test_a_task_that_cannot_select_is_audited_without_its_batch_mates():
    class CannotSelect(RaggedObjective):
        select = AbstractObjective.select

    c = systems((0.5 * torch.eye(2).double(), random(2)), (0.5 * torch.eye(3).double(), random(3)))
    found = ask(RaggedAffine(), [(c, 2 * c.b)], objective=CannotSelect())
    assert found.batch_difference is None
    assert found.is_equilibrium is True
    # Nor is a part of a batch to be had: it is audited whole, and the run goes on.
    limited = ask(RaggedAffine(), [(c, 2 * c.b)] * 2, objective=CannotSelect(), max_samples=1)
    assert limited.n_samples == 2


def test_samples_of_all_batches_count_up_to_a_limit():
    operator, first = affine(n=6)
    _, second = affine(n=3, seed=5)
    found = ask(operator, [first, second, first], max_samples=7)
    assert found.n_samples == 7
    norms = torch.cat([first[1], second[1][:1]]).norm(dim=1)
    assert float(found.error_mean[0]) == pytest.approx(float(norms.mean()))
    columns = found.columns()
    assert {len(values) for values in columns.values()} == {T + 1}
    assert found.numbers()["is_equilibrium"] is True


@pytest.mark.parametrize(
    ("adjoint", "words"),
    [
        (Unrolled(last=2), "by unrolling 5 steps, with gradients of the last 2;"),
        (JacobianFree(), "with Jacobian-free gradients (1 step) after at most 5 iterations;"),
        (Implicit(Neumann(3)), "by implicit differentiation after at most 5 iterations;"),
    ],
)
def test_the_verdict_says_how_the_model_was_trained(adjoint, words):
    operator, batch = affine()
    assert f"Trained {words}" in ask(operator, [batch], adjoint=adjoint).verdict


def test_a_model_without_parameters_was_not_trained():
    class Halving(AbstractOperator):
        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            return 0.5 * z + c

    _, batch = affine()
    assert "an equilibrium. Nothing was trained" in ask(Halving(), [batch]).verdict


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (1e-4, "less than 0.1 %"), (0.125, "12.5 %"), (0.9999, "more than 99.9 %"),
     (1.0, "100 %")],
)  # fmt: skip
def test_all_and_none_are_said_of_nothing_else(share, words):
    operator, batch = affine()
    found = replace(ask(operator, [batch]), path_independent=share)
    assert f"from 3 random starts {words} end at the same state" in found.verdict


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"EquilibriumAuditProbe.factor` must be at least 2, got"):
        EquilibriumAuditProbe(3, Implicit(), Picard(), factor=1)
