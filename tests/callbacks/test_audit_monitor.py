"""What the audit logs, writes and says in a test, and that fitting does without it."""

import csv
import json

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from lit_implicit import (
    ExplicitLightningModule,
    Implicit,
    ImplicitLightningModule,
    Picard,
    Unrolled,
)
from lit_implicit.callbacks import AuditMonitor
from lit_implicit.callbacks.run_report import RunReport
from lit_implicit.errors import ConfigError

DEPTH, T = 3, 30


class Frozen(ImplicitLightningModule):
    """A model that training leaves as it is, so that its audit is known."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder, *callbacks):
    return Trainer(
        max_epochs=1, accelerator="cpu", logger=CSVLogger(folder, name="", version=""),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), log_every_n_steps=1,
    )  # fmt: skip


def audited(folder, module, monitor):
    report = RunReport()
    run = trainer(folder, report, monitor)
    run.test(module, AffineData(), verbose=False)
    return run, report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Test a contraction whose targets, 2 x, are its fixed points."""
    folder = tmp_path_factory.mktemp("run")
    module = Frozen(AffineOperator(0.5), AffineObjective(), Picard(max_iter=DEPTH), Implicit())
    monitor = AuditMonitor(max_samples=3)
    return folder, monitor, *audited(folder, module, monitor)


def test_the_verdict_reaches_the_report_with_its_numbers(run):
    folder, monitor, _, report = run
    assert report.content["findings"]["test"] == monitor.found["test"]
    head, *checks = monitor.found["test"]
    assert head.startswith("audit: an equilibrium. Trained by implicit differentiation")
    # One batch of the two, and three of its four samples.
    assert f"asked of 3 samples, iterated to t = {T} by Picard." in head
    assert len(checks) == 4
    settings = json.loads((folder / "figures" / "test_audit.json").read_text())["settings"]
    assert settings["is_equilibrium"] is True
    assert settings["train_max_iter"] == DEPTH
    assert settings["n_iter"] == T
    assert settings["rate"] == pytest.approx(0.5, rel=1e-2)
    assert settings["findings"] == monitor.found["test"]


def test_the_curves_are_written_and_the_numbers_logged(run):
    folder, _, trainer, _ = run
    rows = list(csv.DictReader((folder / "figures" / "test_audit.csv").open()))
    assert [float(row["t"]) for row in rows] == list(range(T + 1))
    errors = [float(row["error_mean"]) for row in rows]
    assert errors[4] == pytest.approx(errors[0] / 16, rel=1e-5)
    assert (folder / "figures" / "test_audit.png").stat().st_size > 20000
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["test/over_iteration"] == 1
    assert logged["test/audit_converged"] == logged["test/path_independent"] == 1


@pytest.mark.parametrize(
    ("solver", "words"), [(None, "by Picard(damping=0.25)."), (Picard(), "by Picard.")]
)
def test_the_iteration_is_the_test_solver_s_unless_another_is_named(tmp_path, solver, words):
    module = Frozen(
        AffineOperator(0.5), AffineObjective(), Picard(max_iter=DEPTH), Unrolled(),
        test_solver=Picard(0.25),
    )  # fmt: skip
    monitor = AuditMonitor(solver)
    audited(tmp_path, module, monitor)
    assert "Trained by unrolling 3 steps;" in monitor.found["test"][0]
    assert monitor.found["test"][0].endswith(words)


@pytest.mark.parametrize("gain", [1.5, float("nan")])
def test_what_is_no_equilibrium_is_told_and_drawn_too(tmp_path, gain):
    module = Frozen(AffineOperator(gain), AffineObjective(), Picard(max_iter=DEPTH))
    monitor = AuditMonitor()
    audited(tmp_path, module, monitor)
    assert monitor.found["test"][0].startswith("audit: not an equilibrium.")
    assert (tmp_path / "figures" / "test_audit.png").is_file()


@pytest.mark.parametrize("every_n_epochs", [0, 1])
def test_fitting_audits_only_where_it_is_asked_to(tmp_path, every_n_epochs):
    monitor = AuditMonitor(every_n_epochs=every_n_epochs)
    module = Frozen(AffineOperator(0.5), AffineObjective(), Picard(max_iter=DEPTH))
    run = trainer(tmp_path, monitor)
    run.fit(module, AffineData())
    assert ("val" in monitor.found) is bool(every_n_epochs)
    assert ("val/over_iteration" in run.callback_metrics) is bool(every_n_epochs)


def test_an_explicit_model_is_left_alone(tmp_path):
    monitor = AuditMonitor()
    audited(tmp_path, ExplicitLightningModule(AffineNetwork(), AffineObjective()), monitor)
    assert monitor.found == monitor.results == {}


def test_a_process_without_a_batch_and_without_others_has_nothing_to_log(tmp_path):
    class Blind(AuditMonitor):
        def on_test_batch_end(self, *args):
            """As where another process has all of the data."""

    monitor = Blind()
    module = Frozen(AffineOperator(0.5), AffineObjective(), Picard(max_iter=DEPTH))
    with pytest.warns(UserWarning, match="before"):
        run, _ = audited(tmp_path, module, monitor)
    assert monitor.found == monitor.results == {}
    assert "test/over_iteration" not in run.callback_metrics
    assert "test/error" in run.callback_metrics


def test_settings_out_of_range_are_refused():
    for name, value, least in (("factor", 1, 2), ("n_starts", 0, 1), ("max_samples", 0, 1)):
        with pytest.raises(ConfigError, match=f"AuditMonitor.{name}` must be at least {least}"):
            AuditMonitor(**{name: value})
