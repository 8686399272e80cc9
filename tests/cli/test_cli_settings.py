"""Which setting wins: command line over YAML over the task over the code."""

import pytest
import yaml

from lit_implicit.cli import main


@pytest.fixture
def config(workdir):
    """Write a config; return its name."""

    def config(text, name="config.yaml"):
        (workdir / name).write_text(text)
        return name

    return config


def solver_of(settings):
    return settings["model"]["init_args"]["solver"]


def operator_of(settings):
    return settings["model"]["init_args"]["operator"]


def test_task_sets_data_objective_operator_and_defaults(settings):
    found = settings("--task", "affine")
    model = found["model"]["init_args"]
    assert found["data"]["class_path"] == "affine_task.AffineData"
    assert model["objective"]["class_path"] == "affine_task.AffineObjective"
    assert model["operator"]["class_path"] == "affine_task.AffineOperator"
    assert model["solver"]["class_path"] == "lit_implicit.Anderson"
    assert model["adjoint"]["class_path"] == "lit_implicit.Implicit"
    assert found["task"] == "affine"
    assert found["seed_everything"] == 0
    assert found["checkpoint"]["init_args"]["monitor"] == "val/error"
    assert found["gallery"]["init_args"] == {"every_n_epochs": 10, "times": None}


def test_task_key_in_yaml_equals_task_flag(settings, config):
    by_key = settings("--config", config("task: affine"))
    assert by_key == settings("--task=affine") == settings("--task", "affine")


def test_task_under_the_key_of_the_command(affine, config, capsys):
    operator = "{class_path: AffineOperator, init_args: {gain: 0.2}}"
    path = config(f"fit: {{task: affine, model: {{operator: {operator}}}}}")
    assert main(["--config", path, "fit", "--print_config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["task"], operator_of(found)["init_args"]["gain"]) == ("affine", 0.2)


def test_explicit_class_path_needs_no_task(workdir, config, capsys):
    path = config("""
data: {class_path: affine_task.AffineData}
model:
  operator: {class_path: affine_task.AffineOperator}
  objective: {class_path: affine_task.AffineObjective}
""")
    assert main(["fit", "--config", path, "--print_config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["task"] is None
    assert operator_of(found) == {
        "class_path": "affine_task.AffineOperator",
        "init_args": {"gain": 0.3},
    }


YAML = "task: affine\nmodel: {operator: {gain: 0.2}, solver: {max_iter: 20}}"


def test_yaml_beats_task_defaults(settings, config):
    found = settings("--config", config(YAML))
    assert operator_of(found)["init_args"]["gain"] == 0.2
    assert solver_of(found)["init_args"]["max_iter"] == 20


def test_later_yaml_beats_earlier(settings, config):
    later = config("model: {solver: {max_iter: 21}}", "later.yaml")
    found = settings("--config", config(YAML), "--config", later)
    assert solver_of(found)["init_args"]["max_iter"] == 21
    assert operator_of(found)["init_args"]["gain"] == 0.2


@pytest.mark.parametrize("flag_first", [False, True])
def test_command_line_beats_yaml_wherever_it_stands(settings, config, flag_first):
    args = ["--config", config(YAML), "--model.solver.max_iter", "22"]
    found = settings(*(args[2:] + args[:2] if flag_first else args))
    assert solver_of(found)["init_args"]["max_iter"] == 22
    assert operator_of(found)["init_args"]["gain"] == 0.2


def test_task_flag_beats_task_key(settings, config):
    assert settings("--task", "affine", "--config", config("task: nope"))["task"] == "affine"


@pytest.mark.parametrize(
    "name", ["OtherAffineOperator", "other", "affine_task.OtherAffineOperator"]
)
def test_operator_by_class_name_task_name_or_path(settings, name):
    found = settings("--task=affine", "--model.operator", name, "--model.operator.gain=0.1")
    assert operator_of(found) == {
        "class_path": "affine_task.OtherAffineOperator",
        "init_args": {"gain": 0.1},
    }


@pytest.mark.parametrize(
    "model",
    [
        "{operator: other}",
        "{operator: {class_path: 'other'}}",
        "{class_path: ImplicitLightningModule, init_args: {operator: other}}",
        "{init_args: {operator: {class_path: other, init_args: {gain: 0.3}}}}",
    ],
)
def test_task_name_of_an_operator_in_yaml(settings, config, model):
    text = f"seed_everything: 7\nmodel: {model}\ntask: affine"
    found = settings("--config", config(text))
    assert operator_of(found) == {
        "class_path": "affine_task.OtherAffineOperator",
        "init_args": {"gain": 0.3},
    }
    assert found["seed_everything"] == 7


def test_task_name_in_yaml_under_the_key_of_the_command(affine, config, capsys):
    path = config("fit: {model: {operator: other}, trainer: {max_epochs: 3}}")
    assert main(["--config", path, "fit", "--task=affine", "--print_config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert operator_of(found)["class_path"] == "affine_task.OtherAffineOperator"
    assert found["trainer"]["max_epochs"] == 3


def test_task_name_of_a_baseline_in_yaml(settings, config):
    text = (
        "task: affine\nmodel: {class_path: ExplicitLightningModule, init_args: {network: linear}}"
    )
    model = settings("--config", config(text))["model"]["init_args"]
    assert model["network"]["class_path"] == "affine_task.AffineNetwork"


@pytest.mark.parametrize("name", ["AffineNetwork", "linear"])
def test_baseline_takes_the_place_of_the_operator(settings, name):
    found = settings(
        "--task=affine", "--model", "ExplicitLightningModule", f"--model.network={name}"
    )
    model = found["model"]["init_args"]
    assert model["network"]["class_path"] == "affine_task.AffineNetwork"
    assert model["objective"]["class_path"] == "affine_task.AffineObjective"
    assert "operator" not in model


def test_solver_by_short_name_in_yaml(settings, config):
    text = "task: affine\nmodel: {solver: {class_path: Picard, init_args: {damping: 0.5}}}"
    solver = solver_of(settings("--config", config(text)))
    assert (solver["class_path"], solver["init_args"]["damping"]) == ("lit_implicit.Picard", 0.5)


def test_callback_can_be_changed_and_switched_off(settings):
    flags = ["--solver_monitor=null", "--gallery=null", "--checkpoint.monitor=val/loss"]
    found = settings("--task=affine", *flags)
    assert found["solver_monitor"] is None
    assert found["gallery"] is None
    assert found["checkpoint"]["init_args"]["monitor"] == "val/loss"
    assert found["checkpoint"]["init_args"]["save_last"] is True


@pytest.mark.parametrize("command", ["validate", "test", "predict", "curve"])
def test_settings_of_fit_serve_every_command(settings, workdir, command, capsys):
    found = settings("--task=affine")
    (workdir / "fit.yaml").write_text(yaml.safe_dump(found))
    assert main([command, "--config", "fit.yaml", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"] == found["model"]


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("lit_implicit.GMRES", {"restart": 5, "rtol": 1e-6}),
        ("lit_implicit.Neumann", {"terms": 3}),
        ("lit_implicit.Broyden", {"depth": 4}),
    ],
)
def test_adjoint_takes_linear_and_fixed_point_solvers(settings, config, class_path, init_args):
    solver = {"class_path": class_path, "init_args": init_args}
    adjoint = {"class_path": "lit_implicit.Implicit", "init_args": {"solver": solver}}
    path = config(yaml.safe_dump({"task": "affine", "model": {"adjoint": adjoint}}))
    found = settings("--config", path)["model"]["init_args"]["adjoint"]["init_args"]["solver"]
    assert found["class_path"] == class_path
    assert found["init_args"].items() >= init_args.items()


def test_a_step_is_trained_with_gmres_from_yaml(run, config):
    solver = "{class_path: lit_implicit.GMRES, init_args: {restart: 5}}"
    adjoint = f"{{class_path: lit_implicit.Implicit, init_args: {{solver: {solver}}}}}"
    path = config(f"model: {{adjoint: {adjoint}, solver: {{class_path: lit_implicit.Broyden}}}}")
    assert run("fit", "--config", path) == 0


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("--model.compile", "true"), True),
        (("--model.compile", "max-autotune"), "max-autotune"),
        (("--model.compile", "null"), None),
        (("--model.compile.tracked", "false"),
         {"mode": "default", "backend": "inductor", "dynamic": True, "fullgraph": True,
          "tracked": False, "step": None}),
    ],
)  # fmt: skip
def test_compile_is_one_setting_or_many(settings, given, found):
    assert settings("--task", "affine", *given)["model"]["init_args"]["compile"] == found


def test_a_mode_of_compile_that_does_not_exist_is_refused(affine, capsys):
    assert main(["fit", "--task", "affine", "--model.compile", "fast"]) == 2
    assert "`model.compile` must be bool or 'default' or" in capsys.readouterr().err
