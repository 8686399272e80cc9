"""What the monitors log and write, against closed forms of the affine task."""

import csv
import json
from collections import defaultdict

import pytest
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_implicit import (
    Anderson,
    ExplicitLightningModule,
    Implicit,
    ImplicitLightningModule,
    Picard,
)
from lit_implicit.callbacks import LipschitzCurveMonitor, SolverMonitor, TestTimeCurveMonitor
from lit_implicit.errors import ConfigError

W = 0.5


class Frozen(ImplicitLightningModule):
    """A model that training leaves as it is, so that its curves are known."""

    def configure_optimizers(self):
        import torch

        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Fit and test once with all monitors; return the folder, the trainer and the events."""
    folder = tmp_path_factory.mktemp("run")
    monitors = [SolverMonitor(), TestTimeCurveMonitor(6, 2), LipschitzCurveMonitor(6, 2)]
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=TensorBoardLogger(folder, name="", version=""),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=monitors, log_every_n_steps=1,
    )  # fmt: skip
    solver = Picard(rtol=1e-3, max_iter=20)
    module = Frozen(AffineOperator(W), AffineObjective(), solver, Implicit())
    data = AffineData()
    trainer.fit(module, data)
    after_fit = dict(trainer.callback_metrics)
    trainer.test(module, data, verbose=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return folder, {**after_fit, **trainer.callback_metrics}, events, monitors


def scalars(events, tag):
    values = defaultdict(list)
    for event in events.Scalars(tag):
        values[event.step].append(event.value)
    return dict(values)


def test_solver_statistics_are_logged_for_all_stages(run):
    _, metrics, _, _ = run
    # The first k with w^k <= 1e-3 (2 - w^k) is 9, so the tenth evaluation meets the tolerance.
    for stage in ("train", "val", "test"):
        assert metrics[f"{stage}/n_iter_mean"] == metrics[f"{stage}/n_iter_max"] == 10
        assert metrics[f"{stage}/converged"] == 1
        assert metrics["train/n_failed" if stage == "train" else f"{stage}/failed"] == 0
        ratio = W**9 / (2 - W**9)
        assert metrics[f"{stage}/relative_residual"].item() == pytest.approx(ratio, rel=1e-4)
    assert metrics["train/adjoint_relative_residual"] <= 1e-3
    assert metrics["train/adjoint_converged"] == 1
    assert metrics["train/adjoint_failed"] == 0
    # The adjoint starts at v instead of 0, one step ahead: w v against v (1 + w).
    assert metrics["train/adjoint_n_iter_mean"] == 9


def test_test_curve_is_logged_with_iterations_as_steps(run):
    _, _, events, monitors = run
    curve = scalars(events, "test_curve/lipschitz_input")
    assert list(curve) == list(range(7))
    for t, (value,) in curve.items():
        assert value == pytest.approx((1 - W**t) / (1 - W), rel=1e-3)
    assert list(scalars(events, "test_curve/error_mean")) == list(range(7))
    assert monitors[1].results["test"]["t"] == list(range(7))


def test_validation_curves_follow_the_epochs_they_are_due_at(run):
    _, _, events, _ = run
    # Every second epoch, and the last.
    assert list(scalars(events, "val_curve/lipschitz_input_t4")) == [1, 2]
    assert {"val/test_time_curve", "test/lipschitz_curve"} <= set(events.Tags()["images"])


def test_run_directory_holds_csv_json_and_png_of_each_curve(run):
    folder, _, _, _ = run
    for stage in ("val", "test"):
        for name in ("test_time_curve", "lipschitz_curve"):
            path = folder / "figures" / f"{stage}_{name}"
            rows = list(csv.DictReader(path.with_suffix(".csv").open()))
            assert [float(row["t"]) for row in rows] == list(range(7))
            content = json.loads(path.with_suffix(".json").read_text())
            assert content["settings"]["solver"].startswith("Picard(damping=1.0")
            assert path.with_suffix(".png").stat().st_size > 5000
    settings = json.loads((folder / "figures/test_lipschitz_curve.json").read_text())["settings"]
    assert settings["target_slopes"]["input"] == pytest.approx(2.0, rel=1e-3)
    assert settings["n_samples"] == {"input": 8}


def test_an_explicit_model_has_no_curve_and_no_statistics(tmp_path):
    monitors = [SolverMonitor(), TestTimeCurveMonitor(), LipschitzCurveMonitor()]
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=monitors,
        enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
    )  # fmt: skip
    trainer.test(
        ExplicitLightningModule(AffineNetwork(), AffineObjective()), AffineData(), verbose=False
    )
    assert monitors[1].results == monitors[2].results == {}
    assert set(trainer.callback_metrics) == {"test/loss", "test/error"}


def test_all_estimators_reach_the_files_the_board_and_the_figure(tmp_path):
    estimators = ("pairs", "jacobian", "worst_pair")
    monitor = LipschitzCurveMonitor(4, estimators=estimators, worst_pair_at=[1, 4], refine=1)
    trainer = Trainer(
        accelerator="cpu", logger=TensorBoardLogger(tmp_path, name="", version=""),
        enable_progress_bar=False, callbacks=[monitor], enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    module = ImplicitLightningModule(AffineOperator(W), AffineObjective(), Picard())
    trainer.test(module, AffineData(), verbose=False)
    rows = list(csv.DictReader((tmp_path / "figures/test_lipschitz_curve.csv").open()))
    for t, row in enumerate(rows):
        gain = (1 - W**t) / (1 - W)
        for name in ("lipschitz_input", "jacobian_input"):
            assert float(row[name]) == pytest.approx(gain, rel=1e-3)
        worst = float(row["worst_pair"])
        assert worst == pytest.approx(gain, rel=1e-3) if t in (1, 4) else worst != worst
    settings = json.loads((tmp_path / "figures/test_lipschitz_curve.json").read_text())["settings"]
    assert settings["estimators"] == list(estimators)
    assert settings["refine"] == 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert list(scalars(events, "test_curve/worst_pair")) == [1, 4]


def test_estimators_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"solver` is Anderson, but .* follow Picard .* alone"):
        LipschitzCurveMonitor(solver=Anderson(), estimators=("pairs", "jacobian"))
    LipschitzCurveMonitor(solver=Anderson())
    LipschitzCurveMonitor(solver=Picard(0.5), estimators=("jacobian",))
    with pytest.raises(ConfigError, match="estimators` is empty"):
        LipschitzCurveMonitor(estimators=())
    module = ImplicitLightningModule(AffineOperator(W), AffineObjective(), Picard())
    monitor = LipschitzCurveMonitor(5, estimators=("worst_pair",), worst_pair_at=[9])
    with pytest.raises(ConfigError, match=r"worst_pair_at` must lie in 0\.\.5.* got \[9\]"):
        monitor.make_probe(module)


def test_costs_stand_in_the_columns_and_in_the_title(run):
    folder, _, _, _ = run
    rows = list(csv.DictReader((folder / "figures/test_test_time_curve.csv").open()))
    # A product with a matrix of 3 x 3, and a sum of 3, for each application of G.
    assert [float(row["flops"]) for row in rows] == [(2 * 9 + 3) * t for t in range(7)]
    seconds = [float(row["seconds"]) for row in rows]
    assert 0 < seconds[0] < seconds[-1] < 1
    from lit_implicit.reporting.units import cost_in_words

    assert cost_in_words([0.0, 21.0, 42.0], [1e-6, 3e-6, 5e-6]) == (
        "one iteration: 21 FLOP, 2 µs per sample"
    )


def test_negative_settings_are_refused():
    with pytest.raises(
        ConfigError, match=r"TestTimeCurveMonitor.n_iter` must be at least 0, got -1"
    ):
        TestTimeCurveMonitor(-1)


def test_settings_that_do_not_suit_the_model_are_refused_before_training(tmp_path):
    module = Frozen(AffineOperator(W), AffineObjective(), Picard(max_iter=8), Implicit())
    monitor = LipschitzCurveMonitor(estimators=("worst_pair",), worst_pair_at=(17,))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
        callbacks=[monitor], log_every_n_steps=1,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"worst_pair_at` must lie in 0..16"):
        trainer.fit(module, AffineData())
    assert trainer.global_step == 0
