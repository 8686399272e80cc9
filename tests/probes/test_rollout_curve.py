"""Rollout curves of a toy whose answers are known: z = z / 2 + x from 0, solved twice in a row."""

import math

import pytest
import torch
from affine_task import AffineObjective, AffineOperator

from lit_implicit import Equilibrium, Picard, RolloutScore
from lit_implicit.probes import RolloutCurveProbe, iterates

GAIN = {t: 2 * (1 - 0.5**t) for t in (1, 2, 4)}
SCORES = {"error": False, "ratio": True, "known": False}


class Twice(AffineObjective):
    """The answer is that to the answer: gain(t)^2 x; each solve takes what was asked for."""

    def rollout(self, equilibrium, batch, n_iter=None):
        n_iter = equilibrium.solver.max_iter if n_iter is None else n_iter
        y = batch[0]
        for _ in range(2):
            *_, last = iterates(equilibrium, y, n_iter)
            y = last.y
        return y

    @property
    def rollout_scores(self):
        return {
            "error": RolloutScore(lambda y, batch: (y - 4 * batch[0]).norm(dim=1)),
            # Of the first number of a sample, where it is not below zero.
            "ratio": RolloutScore(
                lambda y, batch: y[:, 0].where(batch[0][:, 0] >= 0, torch.nan), geometric=True
            ),
            "known": RolloutScore(lambda y, batch: torch.full((len(y),), torch.nan)),
        }

    def rollout_rows(self, answers, batch):
        return [{"t": t, "first": float(y[0, 0])} for t, y in answers.items()]


def layer():
    return Equilibrium(AffineOperator(0.5).double(), Picard(rtol=0.5, max_iter=1))


def batch(*firsts):
    x = torch.tensor([[first, 1.0, 2.0] for first in firsts], dtype=torch.float64)
    return x, 2 * x


@pytest.fixture
def curve():
    probe = RolloutCurveProbe((1, 2, 4), SCORES)
    with torch.no_grad():
        for one in (batch(1.0, 4.0, -1.0), batch(0.0, 16.0)):
            probe.update(layer(), Twice(), one)
    return probe.compute()


def test_scores_are_those_of_answers_at_each_listed_t(curve):
    gain = torch.tensor([GAIN[t] ** 2 for t in (1, 2, 4)], dtype=torch.float64)
    norms = torch.tensor([first**2 + 5 for first in (1, 4, -1, 0, 16)]).double().sqrt()
    errors = (4 - gain)[:, None] * norms
    error = curve.scores["error"]
    assert torch.allclose(error.mean, errors.mean(1))
    assert error.n.tolist() == [5, 5, 5]
    assert torch.allclose(error.std, errors.std(1, correction=0))
    assert error.geometric_mean is None


def test_geometric_mean_is_of_what_is_above_zero_with_the_share_of_the_rest(curve):
    gain = torch.tensor([GAIN[t] ** 2 for t in (1, 2, 4)], dtype=torch.float64)
    ratio = curve.scores["ratio"]
    # 1, 4, 0, 16 times the gain; one sample has no value.
    assert ratio.n.tolist() == [4, 4, 4]
    assert torch.allclose(ratio.mean, gain * 21 / 4)
    assert torch.allclose(ratio.geometric_mean, gain * 4)
    spread = 4 ** math.sqrt(2 / 3)  # logarithms 0, 1 and 2 to the base of 4
    assert torch.allclose(ratio.geometric_std, torch.full((3,), spread).double())
    assert torch.allclose(ratio.zero, torch.full((3,), 0.25).double())


def test_a_score_without_any_value_is_not_a_number(curve):
    known = curve.scores["known"]
    assert known.n.tolist() == [0, 0, 0]
    assert known.mean.isnan().all()


def test_columns_and_rows(curve):
    columns = curve.columns()
    assert list(columns)[:4] == ["t", "error_mean", "error_std", "error_n"]
    assert columns["t"] == [1.0, 2.0, 4.0]
    assert {len(v) for v in columns.values()} == {3}
    assert "ratio_geometric_mean" in columns
    assert "error_geometric_mean" not in columns
    assert min(columns["seconds"]) > 0
    # Of the first batch.
    assert curve.rows == [{"t": t, "first": GAIN[t] ** 2} for t in (1, 2, 4)]
    assert (curve.n_samples, curve.batch_size) == (5, 3)


def test_reset_forgets_all():
    probe = RolloutCurveProbe((1,), SCORES)
    probe.update(layer(), Twice(), batch(1.0))
    probe.reset()
    assert probe.rows == ()
    probe.update(layer(), Twice(), batch(4.0, 9.0))
    again = probe.compute()
    assert again.n_samples == 2
    assert again.rows == [{"t": 1, "first": 4.0}]


@pytest.mark.parametrize("times", [(), (0, 1), (2, 1), (1, 1)])
def test_times_must_ascend_from_one(times):
    with pytest.raises(ValueError, match="must ascend from 1 on"):
        RolloutCurveProbe(times, SCORES)
    with pytest.raises(ValueError, match="no `rollout_scores`"):
        RolloutCurveProbe((1,), {})


def test_a_result_is_on_the_cpu_wherever_it_was_measured(monkeypatch):
    """Figures cannot draw what lies on another device; here such tensors are told by their type."""

    class Elsewhere(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    probe = RolloutCurveProbe((1, 2, 4), SCORES)
    with torch.no_grad():
        probe.update(layer(), Twice(), batch(1.0, 4.0))
    plain = probe.kept
    monkeypatch.setattr(probe, "kept", lambda name: plain(name).as_subclass(Elsewhere))
    curve = probe.compute()
    assert type(curve.seconds) is torch.Tensor
    found = [value for score in curve.scores.values() for value in vars(score).values()]
    assert {type(value) for value in found if value is not None} == {torch.Tensor}
