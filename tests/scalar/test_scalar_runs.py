"""The task on the command line: operators that train, operators that only answer."""

import json
from pathlib import Path

import pytest
import torch

import lit_implicit
from lit_implicit import registry
from lit_implicit_scalar.mlp import ScalarMLP

CONFIGS = Path(__file__).parents[2] / "configs"
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
         "--trainer.enable_model_summary=false", "--task=scalar",
         "--data.n_train=64", "--data.n_val=16", "--data.n_test=50"]  # fmt: skip


@pytest.fixture
def cli(tmp_path, monkeypatch):
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    return lambda *args: main([args[0], *QUIET, *args[1:]])


def test_task_is_registered_and_its_classes_can_be_imported():
    spec = registry.get("scalar")
    classes = registry.load_classes("scalar", spec)
    assert set(spec.baselines) == {"capped"}
    assert set(spec.operators) == {"mlp", "capped", "naive", "reciprocal", "construction"}
    assert classes["operators.mlp"] is ScalarMLP


@pytest.mark.slow
def test_curve_of_an_operator_without_parameters_is_the_closed_form(cli, tmp_path, capsys):
    code = cli("curve", "--model.operator=ScalarReciprocal", "--data.dtype=float64",
               "--data.points=grid", "--data.closest=1e-4", "--n_iter=20", "--audit.factor=2",
               "--audit.n_starts=1")  # fmt: skip
    assert code == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs" / "scalar").iterdir()
    curve = json.loads((folder / "figures" / "test_lipschitz_curve.json").read_text())
    slopes = curve["columns"]["lipschitz_x"] if "columns" in curve else curve["lipschitz_x"]
    assert slopes[20] == pytest.approx(0.25 * 20 * 19 / 2, rel=2e-3)
    assert (folder / "figures" / "test_iterates.png").is_file()


@pytest.mark.slow
def test_test_measures_an_operator_without_parameters(cli, tmp_path, capsys):
    args = ("--model.operator=ScalarConstruction", "--model.operator.target=tan",
            "--data.target=tan", "--model.test_max_iter=100")  # fmt: skip
    assert cli("test", *args) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs" / "scalar").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert report["n_parameters"] == 0
    assert report["metrics"]["test"]["error"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("config", ["scalar_capped", "scalar_capped_explicit"])
def test_capped_networks_train_on_the_command_line(cli, tmp_path, capsys, config):
    """The configs as they are, but for their length and another cap."""
    kind = "network" if "explicit" in config else "operator"
    args = [f"--config={CONFIGS / config}.yaml", f"--model.{kind}.cap=5", "--data.batch_size=32"]
    args += ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]
    assert cli("fit", *args) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs" / "scalar").iterdir()
    module = lit_implicit.load(folder / "checkpoints" / "best.ckpt")
    one_pass = getattr(module, kind).one_pass
    assert one_pass.cap == 5
    assert 0 < one_pass.bound() <= 5
    drawn = {path.name for path in (folder / "figures").glob("test_*.png")}
    assert "test_answer.png" in drawn
    assert ("test_iterates.png" in drawn) == (kind == "operator")


def test_predict_writes_an_answer_for_each_point(cli, tmp_path, capsys):
    code = cli("predict", "--model.operator=ScalarReciprocal", "--data.eval_batch_size=20",
               "--model.test_max_iter=100")  # fmt: skip
    assert code == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "runs" / "scalar").iterdir()
    answers = [torch.load(file) for file in sorted((folder / "predictions").iterdir())]
    assert [len(y) for y in answers] == [20, 20, 10]


def test_fit_of_an_operator_without_parameters_says_what_to_do(cli, capsys):
    assert cli("fit", "--model.operator=ScalarNaive", "--trainer.max_epochs=1") == 2
    assert "ScalarNaive, has no parameters to train" in capsys.readouterr().err


def test_operator_for_another_target_is_refused(cli, capsys):
    assert cli("test", "--model.operator=ScalarNaive", "--data.target=log") == 2
    message = capsys.readouterr().err
    assert "`data.target` is 'log'" in message
    assert "made for reciprocal_positive" in message


def test_mlp_keeps_its_precision_and_starts_as_a_contraction():
    torch.manual_seed(0)
    operator = ScalarMLP().double()
    c = operator.encode(torch.linspace(0.01, 1, 50))  # float32: cast
    z = operator.init_state(c)
    assert z.shape == (50, 32)
    assert z.dtype == torch.float64
    a, b = torch.randn(2, 50, 32, dtype=torch.float64)
    ratio = (operator(a, c) - operator(b, c)).norm(dim=1) / (a - b).norm(dim=1)
    assert ratio.max() < 1
    assert operator.decode(z, c).shape == (50,)
