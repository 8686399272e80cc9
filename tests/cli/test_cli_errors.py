"""A mistake is one line on stderr and exit code 2: what, where, what is allowed, what next."""

import sys

import pytest

from lit_implicit.cli import main

FLAGS = [
    (["fti"], ["'fti'", "Did you mean 'fit'?"]),
    (["--task=affine", "fit"], ["'--task=affine'", "before the command"]),
    (
        ["fit", "--trainr.max_epochs=3"],
        ["--trainr.max_epochs", "Did you mean '--trainer.max_epochs'"],
    ),
    (
        ["fit", "--trainer.max_epoch=3"],
        ["--trainer.max_epoch", "Did you mean '--trainer.max_epochs'"],
    ),
    (["fit", "--trainer.max_epochs=x"], ["`trainer.max_epochs` must be int or null, got x"]),
    (["fit", "extra"], ["'extra'", "--"]),
    (["fit", "--model.gian=3"], ["`model` has no argument 'gian'", "operator, objective, solver"]),
    (
        ["fit", "--model.solver.max_itr=3"],
        ["`model.solver`", "'max_itr'", "Did you mean 'max_iter'?"],
    ),
    (["fit", "--model.solver.max_iter=x"], ["`model.solver.max_iter` must be int, got x"]),
    (
        ["fit", "--model.solver=Andersn"],
        ["`model.solver`", "'Andersn'", "Did you mean 'Anderson'?"],
    ),
    (["fit", "--model.operator.gian=3"], ["`model.operator`", "'gian'", "Did you mean 'gain'?"]),
    (["fit", "--model.operator=AffinOperator"], ["Did you mean 'AffineOperator'?", "full path"]),
    (["fit", "--model.operator=affine_task.No"], ["`model.operator`", "no attribute 'No'"]),
    (["fit", "--model.operator=nopkg.No"], ["`model.operator`", "No module named 'nopkg'"]),
    (
        ["fit", "--model.operator=affine_task.AffineNetwork"],
        ["`model.operator` must be a subclass of AbstractOperator"],
    ),
    (["fit", "--model=ExplicitModule"], ["`model`", "ExplicitLightningModule"]),
    (["fit", "--data.batch_sise=3"], ["`data`", "Did you mean 'batch_size'?"]),
    (["fit", "--optimizer=Adm"], ["`optimizer`", "Did you mean 'Adam'?"]),
    (["fit", "--optimizer=Adam", "--optimizer.lrr=1"], ["'lrr'", "Did you mean 'lr'?"]),
    (["fit", "--checkpoint.monitr=x"], ["`checkpoint`", "Did you mean 'monitor'?"]),
    (["fit", "--trainer.devices=0"], ["A setting is not allowed"]),
    (["fit", "--n_threads=0"], ["`n_threads` must be PositiveInt or null, got 0"]),
    (["fit", "--n_threads=1.5"], ["`n_threads` must be PositiveInt or null, got 1.5"]),
    (["fit", "--test_time_curve.n_iter=-3"], ["n_iter", "got -3"]),
    (["fit", "--lipschitz_curve.estimators=[x]"], ["'pairs' or 'jacobian' or 'worst_pair', got x"]),
    (["fit", "--lipschitz_curve.estimators=pairs"], ["must be a list, as '[one, two]', got pairs"]),
    (
        ["fit", "--model.adjoint.solver=GMRES", "--model.adjoint.solver.restrt=3"],
        ["`model.adjoint.solver` has no argument 'restrt'", "Did you mean 'restart'?"],
    ),
    (
        ["fit", "--model.adjoint.solver=GMRS"],
        ["`model.adjoint.solver` names the class 'GMRS'", "Did you mean 'GMRES'?", "Picard"],
    ),
    (
        ["fit", "--model.adjoint.solver=lit_implicit.JacobianFree"],
        ["`model.adjoint.solver` must be a subclass of AbstractSolver or AbstractLinearSolver"],
    ),
    (
        ["fit", "--trainer.callbacks=AdjointSchedule"],
        ["`trainer.callbacks` names AdjointSchedule without its argument `warmup`", "init_args: {"],
    ),
    (
        ["fit", "--trainer.callbacks+=AdjointSchedule"],
        ["`trainer.callbacks` names AdjointSchedule without its argument `warmup`"],
    ),
    (
        ["fit", "--model.regularizers=[JacobianNorm]"],
        ["`model.regularizers` names JacobianNorm without its argument `weight`", "weight: ..."],
    ),
    (["fit", "--config=missing.yaml"], ["'missing.yaml' does not exist"]),
    (["test", "--ckpt_path=missing.ckpt"], ["Checkpoint 'missing.ckpt' does not exist"]),
    (["fit", "--seed_everything=-3"], ["`seed_everything` must be from 0 to 4294967295, got -3"]),
    (["fit", "--task"], ["--task"]),
]

CONFIGS = [
    ("modle: 3", ["'modle'", "Did you mean 'model'?"]),
    ("trainer: {max_epoch: 3}", ["'trainer.max_epoch'", "Did you mean 'trainer.max_epochs'?"]),
    ("trainer: {max_epochs: [3]}", ["`trainer.max_epochs` must be int or null, got [3]"]),
    ("model: {solvr: 3}", ["`model`", "Did you mean 'solver'?"]),
    ("model: {solver: {max_itr: 3}}", ["`model.solver`", "Did you mean 'max_iter'?"]),
    (
        "model: {solver: {class_path: Picard, init_args: {dampin: 1}}}",
        ["`model.solver`", "Did you mean 'damping'?"],
    ),
    (
        "trainer: {callbacks: [{class_path: IterationBudget, init_args: {max_itr: 2}}]}",
        ["`trainer.callbacks`", "Did you mean 'max_iter'?"],
    ),
    ("modle: {}", ["Key 'modle' of the config is unknown", "Did you mean 'model'?"]),
    ("trainer: {modle: {}}", ["Key 'trainer.modle' of the config is unknown"]),
    ("model: {solvr: {}}", ["`model` has no argument 'solvr'", "Did you mean 'solver'?"]),
    (
        "model: {init_args: {solver: {init_args: {foo: {}}}}}",
        ["`model.solver` has no argument 'foo'"],
    ),
    (
        "model: {solver: {class_path: Picard, init_args: {dampin: {}}}}",
        ["`model.solver`", "Did you mean 'damping'?"],
    ),
    ("data: {bath: {}}", ["`data` has no argument 'bath'"]),
    ("audit: {init_args: {fctor: {}}}", ["`audit`", "Did you mean 'factor'?"]),
    ("task: 3", ["`task`", "got 3"]),
    ("task: nope", ["'nope'", "Known: affine"]),
    ("- 1", ["`key: value`, got list"]),
    ("a: [", ["cannot be read as YAML", "line 1"]),
]


def one_line(capsys):
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("Seed set")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in out + err
    return lines[0]


@pytest.mark.parametrize(("args", "parts"), FLAGS, ids=lambda value: " ".join(value)[:50])
def test_mistake_on_the_command_line_is_one_line(affine, workdir, capsys, args, parts):
    rest = ["--task=affine"] if args[0] in ("fit", "test") and "--task" not in args else []
    assert main([*args[:1], *rest, *args[1:]]) == 2
    line = one_line(capsys)
    for part in parts:
        assert part in line
    assert not list(workdir.glob("runs/*/*")), "a run that never began leaves nothing behind"


@pytest.mark.parametrize(("text", "parts"), CONFIGS, ids=lambda value: value[:50])
def test_mistake_in_a_config_is_one_line(affine, workdir, capsys, text, parts):
    (workdir / "config.yaml").write_text(text)
    task = [] if "task" in text else ["--task=affine"]
    assert main(["fit", "--config=config.yaml", *task]) == 2
    line = one_line(capsys)
    for part in parts:
        assert part in line


def test_a_misspelt_key_is_refused_where_the_settings_are_printed(affine, workdir, capsys):
    (workdir / "config.yaml").write_text("trainer: {modle: {}}")
    assert main(["fit", "--config=config.yaml", "--task=affine", "--print_config"]) == 2
    assert "'trainer.modle'" in one_line(capsys)


def test_known_keys_may_have_nothing_below_them(settings, workdir):
    (workdir / "config.yaml").write_text("trainer: {}\nmodel: {init_args: {}}\ndata: {}\naudit: {}")
    assert settings("--task=affine", "--config=config.yaml") == settings("--task=affine")


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ([], "`model.operator` is not set"),
        (["--model.operator=affine_task.AffineOperator"], "`model.objective` is not set"),
        (
            ["--model.operator=affine_task.AffineOperator", "--model.objective=AffineObjective"],
            "`data` is not set",
        ),
    ],
)
def test_without_a_task_the_missing_setting_is_named(workdir, capsys, args, missing):
    assert main(["fit", *args]) == 2
    line = one_line(capsys)
    assert missing in line
    assert "--task NAME" in line


def test_config_of_similar_name_is_suggested(workdir, capsys):
    (workdir / "lp.yaml").write_text("task: lp")
    assert main(["fit", "--config", "lpp.yaml"]) == 2
    assert "Did you mean 'lp.yaml'?" in one_line(capsys)


def test_unknown_task_is_one_line(affine, capsys):
    assert main(["fit", "--task", "afine"]) == 2
    assert "Did you mean 'affine'?" in one_line(capsys)


def test_broken_task_is_one_line(affine, capsys):
    (affine / "affine_spec.py").write_text("import no_such_library")
    assert main(["fit", "--task", "affine"]) == 2
    line = one_line(capsys)
    assert "affine-pkg 1.2" in line
    assert "No module named 'no_such_library'" in line


def test_missing_extra_is_one_line(affine, capsys, monkeypatch):
    (affine / "needy.py").write_text("import no_such_library")
    spec = affine / "affine_spec.py"
    spec.write_text(spec.read_text().replace("affine_task.AffineData", "needy.Data"))
    monkeypatch.delitem(sys.modules, "affine_spec", raising=False)
    assert main(["fit", "--task", "affine"]) == 2
    line = one_line(capsys)
    assert "'no_such_library'" in line
    assert "pip install affine" in line


def test_debug_shows_the_traceback(affine, capsys):
    assert main(["fit", "--task", "afine", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: Task 'afine'")


def test_setting_that_does_not_suit_the_data_is_one_line(run, capsys):
    assert run("fit", "--trainer.val_check_interval=500") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "`val_check_interval` (500) must be less than or equal" in error


def test_text_of_an_exit_is_shown(affine, workdir, capsys, monkeypatch):
    import affine_task

    def leave(self, gain=0.3):
        raise SystemExit("bye")

    monkeypatch.setattr(affine_task.AffineOperator, "__init__", leave)
    assert main(["fit", "--task", "affine"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: bye"


def test_name_too_long_for_the_disk_is_one_line(run, capsys):
    assert run("fit", f"--run_dir={'x' * 300}") == 2
    assert "cannot be used: File name too long" in capsys.readouterr().err


def test_log_of_a_queue_shows_the_epochs(run, capsys):
    bars = ["--trainer.enable_progress_bar=true", "--trainer.max_epochs=2"]
    assert run("fit", *bars) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("epoch ")]
    assert [line.split(",")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "step 4, val/loss 0." in lines[1]


def test_bug_in_a_class_is_not_hidden(affine, workdir, monkeypatch):
    import affine_task

    def broken(self, gain: float = 0.3) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(affine_task.AffineOperator, "__init__", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["fit", "--task", "affine"])
