"""What the regularity monitor logs, says, writes and draws."""

import csv
import json

import pytest
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from lit_implicit import Equilibrium, ExplicitLightningModule, ImplicitLightningModule, Picard
from lit_implicit.callbacks import RegularityMonitor
from lit_implicit.errors import ConfigError
from lit_implicit.probes import RegularityProbe
from lit_implicit.reporting.regularity_figure import draw_regularity
from lit_implicit.reporting.table import in_words


def trainer_with(folder, monitor, **settings):
    return Trainer(
        accelerator="cpu", logger=CSVLogger(folder, name="", version=""), callbacks=[monitor],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1, **settings,
    )  # fmt: skip


def module(gain=0.5):
    return ImplicitLightningModule(AffineOperator(gain), AffineObjective(), Picard())


def test_a_test_logs_writes_and_says_what_was_found(tmp_path):
    monitor = RegularityMonitor(max_samples=3)
    trainer = trainer_with(tmp_path, monitor)
    trainer.test(module(), AffineData(), verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert metrics["test/contraction_factor"] == pytest.approx(0.5)
    assert metrics["test/contraction_factor_mean"] == pytest.approx(0.5)
    assert metrics["test/contracting"] == 1
    assert metrics["test/lipschitz_x"] == pytest.approx(1.0, rel=1e-3)
    path = tmp_path / "figures" / "test_regularity"
    rows = list(csv.DictReader(path.with_suffix(".csv").open()))
    assert [float(row["contraction_factor"]) for row in rows] == pytest.approx([0.5] * 3)
    settings = json.loads(path.with_suffix(".json").read_text())["settings"]
    assert settings["estimate"] == "from below, on samples"
    assert settings["bound"]["holds"] == 1
    assert settings["findings"] == monitor.found["test"]
    assert monitor.found["test"][0].endswith("of 100 % of 3 samples (largest factor 0.5)")
    assert path.with_suffix(".png").stat().st_size > 5000


def test_in_fit_it_measures_only_if_asked_and_then_over_the_epochs(tmp_path):
    quiet = RegularityMonitor()
    trainer_with(tmp_path / "a", quiet, max_epochs=1).fit(module(), AffineData())
    assert quiet.results == {}
    asked = RegularityMonitor(every_n_epochs=2)
    trainer_with(tmp_path / "b", asked, max_epochs=4).fit(module(), AffineData())
    rows = list(csv.DictReader((tmp_path / "b" / "metrics.csv").open()))
    column = "val/contraction_factor"
    factors = {row["epoch"]: float(row[column]) for row in rows if row[column]}
    assert list(factors) == ["1", "3"]
    assert factors["1"] != factors["3"]  # it was trained


def test_explicit_models_are_left_alone(tmp_path):
    monitor = RegularityMonitor()
    explicit = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    trainer_with(tmp_path, monitor).test(explicit, AffineData(), verbose=False)
    assert monitor.results == {}


def test_panels_without_data_say_why():
    probe = RegularityProbe({})
    x = AffineData().test_dataloader().dataset.tensors
    probe.update(Equilibrium(AffineOperator(2.0), Picard()), AffineObjective(), x)
    figure = draw_regularity(probe.compute(), "AffineOperator, test")
    words = [axes.texts[0].get_text() for axes in figure.axes]
    assert words[0] == "no sample reached a fixed point"
    assert "no sample reached a fixed point" in words[1]  # not the data's fault
    assert "states no singular set" in words[2]
    assert "no sample reached a fixed point" in words[3]
    figure.canvas.draw()


def test_metrics_have_words():
    assert in_words("contraction_factor") == "contraction factor |dG/dz| at z*, largest"


@pytest.mark.parametrize(
    "settings", [{"max_samples": 0}, {"n_steps": 0}, {"every_n_epochs": -1}, {"rtol": 0.0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=f"`RegularityMonitor.{next(iter(settings))}` must"):
        RegularityMonitor(**settings)
