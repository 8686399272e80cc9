"""Whole runs in process: what they write, and how a run is repeated, resumed and loaded."""

import json
import signal

import pytest
import torch
import yaml

from lit_implicit.cli import main
from lit_implicit.loading import CONFIG_KEY, load


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def test_fit_fills_its_run_directory(run, run_directory, capsys):
    assert run("fit", curves=True) == 0
    folder = run_directory()
    assert folder.parent.name == "affine"
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "metrics.csv", "report.json", "checkpoints", "figures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert "hparams.yaml" not in names
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    figures = {p.name for p in (folder / "figures").iterdir()}
    assert {"test_test_time_curve.csv", "test_lipschitz_curve.png"} <= figures
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/error", "test/error", "test/n_iter_mean"} <= set(header)
    assert {path.name for path in folder.parents[2].iterdir()} == {"runs"}
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == str(folder.relative_to(folder.parents[2]))
    assert "share of samples converged" in out
    assert "tensorboard --logdir" in out


def test_summary_shows_the_parts_of_the_model_alone(run, capsys):
    flags = ["--trainer.fast_dev_run=true", "--test_after_fit=false"]
    assert run("fit", *flags, "--trainer.enable_model_summary=true") == 0
    rows = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines()]
    rows = [[cell.strip() for cell in row] for row in rows if len(row) == 3]
    assert rows == [
        ["objective", "AffineObjective", "0"],
        ["operator", "AffineOperator", "9"],
        ["all", "", "9"],
    ]
    assert run("fit", *flags) == 0
    assert "AffineOperator" not in capsys.readouterr().out


def test_report_tells_what_was_run_and_what_came_out(run, run_directory):
    assert run("fit", "--seed_everything=3") == 0
    report = report_of(run_directory())
    assert report["status"] == "completed"
    assert report["task"] == "affine"
    assert report["seed"] == 3
    assert report["n_parameters"] == 9
    assert report["device"].startswith("cpu")
    assert {"python", "torch", "lightning", "lit-implicit"} <= set(report["versions"])
    assert set(report["seconds"]) == {"fit", "test"}
    assert set(report["metrics"]) == {"val", "test"}
    assert report["metrics"]["test"]["error"] > 0
    assert report["best_checkpoint"].endswith("best.ckpt")
    assert report["command"].startswith("lit-implicit fit")


# No sample of the later epochs is sound, so that there is no training loss to average.
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric MeanMetric was called before")
def test_report_holds_the_validation_of_the_best_epoch(run, run_directory):
    """A learning rate that ruins the model from the first step on: epoch 0 is the best."""
    flags = ["--optimizer=SGD", "--optimizer.lr=0.3", "--trainer.max_epochs=3"]
    assert run("fit", *flags) == 0
    folder = run_directory()
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    report = report_of(folder)
    assert report["val_epoch"] == best["epoch"]
    scores = [c["best_model_score"] for k, c in best["callbacks"].items() if "ModelCheckpoint" in k]
    assert report["metrics"]["val"]["error"] == pytest.approx(float(scores[0]))


def test_saved_config_repeats_the_run(run, run_directory, workdir):
    assert run("fit", "--model.operator=other", "--model.operator.gain=0.2") == 0
    first = run_directory()
    assert main(["fit", "--config", str(first / "config.yaml")]) == 0
    second = run_directory()
    assert second != first
    texts = [(folder / "config.yaml").read_text() for folder in (first, second)]
    assert texts[0] == texts[1]
    assert report_of(first)["metrics"] == report_of(second)["metrics"]


def test_saved_config_names_classes_in_full(run, run_directory):
    assert run("fit", "--model.solver=Picard") == 0
    config = yaml.safe_load((run_directory() / "config.yaml").read_text())
    assert config["task"] == "affine"
    assert config["model"]["init_args"]["solver"]["class_path"] == "lit_implicit.Picard"


def test_two_runs_within_a_second_have_two_directories(workdir):
    from lit_implicit.cli.run_directory import make_run_directory

    folders = {make_run_directory(None, "affine", "fit") for _ in range(3)}
    assert len(folders) == 3


def test_run_dir_is_used_once(run, workdir, capsys):
    assert run("fit", "--run_dir=here") == 0
    assert (workdir / "here" / "report.json").exists()
    assert run("fit", "--run_dir=here") == 2
    assert "`run_dir` 'here' already holds a run" in capsys.readouterr().err
    # The saved config does not name it, so it can be run again.
    assert main(["fit", "--config=here/config.yaml"]) == 0


def test_number_of_threads_reaches_torch(run):
    before = torch.get_num_threads()
    try:
        assert run("fit", f"--n_threads={before + 1}", "--trainer.fast_dev_run=true") == 0
        assert torch.get_num_threads() == before + 1
        assert run("fit", "--trainer.fast_dev_run=true") == 0  # says nothing, changes nothing
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_fast_dev_run_leaves_nothing(run, workdir):
    assert run("fit", "--trainer.fast_dev_run=true", curves=True) == 0
    assert not list(workdir.iterdir())


def test_logger_false_keeps_all_but_the_logs(run, run_directory, workdir):
    one = ["--lipschitz_curve=null", "--regularity=null", "--audit=null"]
    assert run("fit", "--trainer.logger=false", *one, curves=True) == 0
    names = {path.name for path in run_directory().iterdir()}
    assert {"config.yaml", "report.json", "checkpoints"} <= names
    assert "metrics.csv" not in names
    assert {path.name for path in workdir.iterdir()} == {"runs"}


@pytest.mark.parametrize("flag", ["--checkpoint=null", "--trainer.enable_checkpointing=false"])
def test_without_checkpoints_the_last_weights_are_tested(run, run_directory, flag):
    args = ["--trainer.enable_checkpointing=false"]
    assert run("fit", flag, *args) == 0
    folder = run_directory()
    assert not (folder / "checkpoints").exists()
    assert "test" in report_of(folder)["metrics"]


def test_test_after_fit_can_be_switched_off(run, run_directory):
    assert run("fit", "--test_after_fit=false") == 0
    assert set(report_of(run_directory())["metrics"]) == {"val"}


def test_explicit_baseline_trains(run, run_directory):
    assert run("fit", "--model=ExplicitLightningModule", "--model.network=linear", curves=True) == 0
    assert report_of(run_directory())["n_parameters"] == 12


def test_optimizer_and_scheduler_from_the_command_line(run, run_directory):
    flags = ["--optimizer=SGD", "--optimizer.lr=0.25", "--lr_scheduler=StepLR"]
    assert run("fit", *flags, "--lr_scheduler.step_size=5") == 0
    last = torch.load(run_directory() / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == 0.25
    assert "momentum" in last["optimizer_states"][0]["param_groups"][0]
    assert last["lr_schedulers"][0]["step_size"] == 5


def test_checkpoint_never_changes_a_setting(run, run_directory):
    """Lightning's own command line would take the solver from the checkpoint."""
    assert run("fit", "--model.solver.max_iter=30") == 0
    checkpoint = run_directory() / "checkpoints" / "best.ckpt"
    for command, stage in (("test", "test"), ("validate", "val")):
        assert run(command, f"--ckpt_path={checkpoint}", "--model.solver.max_iter=1") == 0
        folder = run_directory()
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["model"]["init_args"]["solver"]["init_args"]["max_iter"] == 1
        assert report_of(folder)["metrics"][stage]["n_iter_max"] == 1.0
        assert folder.name.endswith(f"_{command}")


def test_command_line_beats_checkpoint_hparams(run, run_directory):
    """The same, with hyper-parameters in the checkpoint, as `save_hyperparameters` leaves them."""
    assert run("fit") == 0
    path = run_directory() / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    solver = {"class_path": "lit_implicit.Anderson", "init_args": {"max_iter": 30}}
    checkpoint["hyper_parameters"] = {
        "_class_path": "lit_implicit.ImplicitLightningModule",
        "solver": solver,
    }
    torch.save(checkpoint, path)
    assert run("test", f"--ckpt_path={path}", "--model.solver.max_iter=1") == 0
    assert report_of(run_directory())["metrics"]["test"]["n_iter_max"] == 1.0


def test_checkpoint_that_does_not_fit_is_one_line(run, run_directory, capsys):
    assert run("fit") == 0
    checkpoint = run_directory() / "checkpoints" / "best.ckpt"
    capsys.readouterr()
    flags = ["--model=ExplicitLightningModule", "--model.network=linear"]
    assert run("test", f"--ckpt_path={checkpoint}", *flags) == 2
    assert "does not fit the model" in capsys.readouterr().err


def test_predict_writes_the_answers(run, run_directory):
    assert run("fit") == 0
    checkpoint = run_directory() / "checkpoints" / "best.ckpt"
    assert run("predict", f"--ckpt_path={checkpoint}") == 0
    files = sorted((run_directory() / "predictions").iterdir())
    assert [path.name for path in files] == ["predictions_00000.pt", "predictions_00001.pt"]
    assert torch.load(files[0], weights_only=True).shape == (4, 3)


def test_data_without_the_split_is_one_line(run, monkeypatch, capsys):
    import affine_task

    monkeypatch.delattr(affine_task.AffineData, "predict_dataloader")
    assert run("predict") == 2
    assert "predict_dataloader" in capsys.readouterr().err


def test_curve_writes_and_prints_the_curves(run, run_directory, capsys):
    assert run("fit") == 0
    checkpoint = run_directory() / "checkpoints" / "best.ckpt"
    capsys.readouterr()
    assert run("curve", f"--ckpt_path={checkpoint}", "--n_iter=6", "--stage=val", curves=True) == 0
    folder = run_directory()
    rows = (folder / "figures" / "val_test_time_curve.csv").read_text().splitlines()
    assert len(rows) == 1 + 7  # a header, t = 0..6
    figures = {path.suffix for path in (folder / "figures").iterdir()}
    assert figures == {".csv", ".json", ".png"}
    out = capsys.readouterr().out
    assert "L_t, input" in out
    for t in (0, 1, 2, 4, 6):
        assert f"│ {t} │" in out
    assert out.splitlines()[-1].endswith(folder.name)


@pytest.mark.parametrize(
    ("flags", "curves", "message"),
    [
        (["--model=ExplicitLightningModule", "--model.network=linear"], True, "does not iterate"),
        ([], False, "nothing to measure"),
        (["--n_iter=0"], True, "at least 1, got 0"),
        (["--stage=train"], True, "`stage` must be"),
    ],
)
def test_curve_says_why_it_cannot(run, workdir, capsys, flags, curves, message):
    assert run("curve", *flags, curves=curves) == 2
    assert message in capsys.readouterr().err
    assert not list(workdir.glob("runs/*/*"))


def stop_in_epoch(monkeypatch, epoch, error):
    import affine_task

    from lit_implicit.module import ImplicitLightningModule

    assert affine_task
    step = ImplicitLightningModule.training_step

    def stopping(self, batch, batch_idx):
        if self.current_epoch == epoch:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ImplicitLightningModule, "training_step", stopping)


def test_crash_tells_how_to_resume(run, run_directory, workdir, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in_epoch(patch, 1, ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError) as error:
            run("fit", "--trainer.max_epochs=3")
    folder = run_directory().relative_to(workdir)
    resume = (
        f"lit-implicit fit --config {folder}/config.yaml --ckpt_path {folder}/checkpoints/last.ckpt"
    )
    assert error.value.__notes__ == [f"To resume: {resume}"]
    assert report_of(folder)["status"] == "failed"
    assert main(resume.split()[1:]) == 0
    last = torch.load(run_directory() / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    assert last["global_step"] == 6


def test_interrupt_tells_how_to_resume(run, run_directory, monkeypatch, capsys):
    stop_in_epoch(monkeypatch, 1, KeyboardInterrupt())
    before = signal.getsignal(signal.SIGINT)  # what starts tests in the background ignores it
    assert run("fit", "--trainer.max_epochs=3") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "To resume: lit-implicit fit --config" in capsys.readouterr().err
    report = report_of(run_directory())
    assert report["status"] == "interrupted"
    assert "test" not in report["metrics"]


def test_load_gives_equal_answers(run, run_directory, affine, workdir):
    import affine_task

    flags = ["--model.operator=other", "--model.operator.gain=0.2", "--trainer.max_epochs=2"]
    assert run("fit", *flags) == 0
    path = run_directory() / "checkpoints" / "best.ckpt"
    module = load(path)
    assert not module.training
    assert isinstance(module.operator, affine_task.OtherAffineOperator)
    weights = torch.load(path, weights_only=True)["state_dict"]["operator.weight"]
    assert torch.equal(module.operator.weight, weights)
    x = torch.randn(5, 3)
    with torch.no_grad():
        expected = torch.linalg.solve(torch.eye(3) - weights, x, left=False)
        # The solver stops at a relative residual of 1e-4.
        torch.testing.assert_close(module(x), expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(module(x), load(path)(x))


def test_load_needs_no_file_that_training_started_from(run, run_directory):
    assert run("fit", "--run_dir=first") == 0
    assert run("fit", "--model.init_weights=first/checkpoints/best.ckpt", "--run_dir=second") == 0
    from pathlib import Path

    Path("first/checkpoints/best.ckpt").unlink()
    assert load("second/checkpoints/best.ckpt") is not None


def test_checkpoint_carries_the_config(run, run_directory):
    assert run("fit") == 0
    folder = run_directory()
    for name in ("best", "last"):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint[CONFIG_KEY] == (folder / "config.yaml").read_text()


@pytest.mark.parametrize("command", ["test", "predict"])
def test_untrained_weights_are_said(run, run_directory, capsys, command):
    assert run("fit") == 0
    checkpoint = run_directory() / "checkpoints" / "best.ckpt"
    capsys.readouterr()
    assert run(command) == 0
    assert f"warning: `{command}` runs with untrained weights" in capsys.readouterr().err
    assert run(command, f"--ckpt_path={checkpoint}") == 0
    assert "untrained" not in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_one_line_and_leaves_nothing(run, workdir, capsys):
    (workdir / "notes.ckpt").write_text("no weights")
    assert run("test", "--ckpt_path=notes.ckpt") == 2
    assert "'notes.ckpt' is no checkpoint" in capsys.readouterr().err
    assert not (workdir / "runs").exists()


def test_a_run_directory_that_cannot_be_made_is_one_line(run, workdir, capsys):
    (workdir / "file").write_text("")
    assert run("fit", "--run_dir=file/below") == 2
    assert "`run_dir` 'file/below' cannot be made: Not a directory" in capsys.readouterr().err


def test_an_empty_config_is_one_line(run, workdir, capsys):
    (workdir / "empty.yaml").write_text("# nothing\n")
    assert run("fit", "--config=empty.yaml") == 2
    assert "Config 'empty.yaml' is empty" in capsys.readouterr().err


def test_a_run_without_max_epochs_is_no_thousand_epochs(settings):
    assert settings("--task=affine")["trainer"]["max_epochs"] == 50
