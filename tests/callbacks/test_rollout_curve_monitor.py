"""Rollouts in tests and predictions of a run: files, table, findings, and silence without them."""

import json

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from lit_implicit import ImplicitLightningModule, Picard, RolloutScore
from lit_implicit.callbacks import RolloutCurveMonitor
from lit_implicit.errors import ConfigError
from lit_implicit.probes import iterates


class Squared(AffineObjective):
    """The answer is the square of y_t, where nobody knows a target."""

    def rollout(self, equilibrium, batch, n_iter=None):
        *_, last = iterates(equilibrium, batch[0], n_iter or equilibrium.solver.max_iter)
        return last.y.square()

    @property
    def rollout_scores(self):
        return {"mean_square": RolloutScore(lambda y, batch: y.mean(1), geometric=True)}

    def rollout_rows(self, answers, batch):
        return [{"t": t, "$a$ long answer": "word \x7f 電" * 30} for t in answers]


def run_of(tmp_path, objective, **settings):
    monitor = RolloutCurveMonitor((1, 2, 4), **settings)
    trainer = Trainer(
        accelerator="cpu", logger=CSVLogger(tmp_path, name="", version=""), callbacks=[monitor],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    module = ImplicitLightningModule(AffineOperator(0.5), objective, Picard(max_iter=3))
    trainer.test(module, AffineData(), verbose=False)
    return monitor, trainer, module


def test_a_test_writes_the_curve_and_says_what_it_found(tmp_path):
    monitor, trainer, _ = run_of(tmp_path, Squared())
    (x, _), *rest = AffineData().test_dataloader()
    x = torch.cat([x, *(other for other, _ in rest)])
    expected = [float((2 * (1 - 0.5**t) * x).square().mean()) for t in (1, 2, 4)]
    content = json.loads((tmp_path / "figures/test_rollout_curve.json").read_text())
    assert content["columns"]["mean_square_mean"] == pytest.approx(expected)
    assert content["columns"]["t"] == [1, 2, 4]
    assert content["settings"]["answers"][0]["t"] == 1
    assert content["settings"]["n_samples"] == 8
    assert (tmp_path / "figures/test_rollout_curve.png").stat().st_size > 10_000
    assert float(trainer.callback_metrics["test/rollout_mean_square"]) == pytest.approx(expected[2])
    (line,) = monitor.found["test"]
    assert line.startswith(f"rollout: mean square, mean: {expected[0]:.4g} (t = 1), ")


def test_predictions_are_rolled_out(tmp_path):
    _, trainer, module = run_of(tmp_path, Squared(), max_batches=1)
    x = next(iter(AffineData().predict_dataloader()))
    (y, solution), *_ = trainer.predict(module, AffineData().predict_dataloader())
    assert solution is None
    assert torch.allclose(y, (1.75 * x[0]).square())


def test_a_task_without_rollouts_is_left_alone(tmp_path):
    monitor, _, module = run_of(tmp_path, AffineObjective())
    assert monitor.results == {}
    assert not (tmp_path / "figures").exists()
    batch = next(iter(AffineData().predict_dataloader()))
    with torch.no_grad():
        y, solution = module.predict_step(batch, 0)
    assert solution.n_iter.tolist() == [3] * 4
    assert torch.allclose(y, 1.75 * batch[0])


def test_an_empty_list_switches_off_and_other_times_are_refused(tmp_path):
    module = ImplicitLightningModule(AffineOperator(), Squared())
    assert RolloutCurveMonitor(()).make_probe(module) is None
    with pytest.raises(ConfigError, match=r"times` must ascend from 1 on, got \[0, 2\]"):
        RolloutCurveMonitor((0, 2))
