"""What the command line answers without torch."""

import subprocess
import sys

import pytest

from lit_implicit import __version__
from lit_implicit.cli import main

LIGHT = """
import sys
from lit_implicit.cli import main
codes = [main(args) for args in (
    ["--help"], ["--version"], ["tasks"], [],
    ["fit", "--task", "nope"], ["fti"], ["fit", "-c", "x"], ["report", "x"],
)]
heavy = {"torch", "lightning", "jsonargparse", "matplotlib", "rich", "numpy"} & set(sys.modules)
assert not heavy, heavy
assert codes == [0, 0, 0, 0, 2, 2, 2, 2], codes
"""


def test_help_does_not_import_torch():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: lit-implicit" in done.stdout


def test_help_names_all_commands(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("fit", "validate", "test", "predict", "curve", "tasks"):
        assert f"\n  {command} " in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lit-implicit {__version__}\n"


def test_command_has_its_own_help(capsys):
    assert main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--task", "--run_dir", "--trainer.max_epochs", "--checkpoint", "--ckpt_path"):
        assert option in out


def test_tasks_are_listed_with_package_and_summary(affine, capsys):
    assert main(["tasks"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("affine "))
    assert line.split() == [
        "affine",
        "affine-pkg",
        "1.2",
        "affine_spec:task",
        "Affine",
        "contractions.",
    ]


def test_broken_task_is_a_line_of_the_list(affine, capsys):
    (affine / "affine_spec.py").write_text("import no_such_library")
    assert main(["tasks"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("affine "))
    assert "fails: cannot be loaded: ModuleNotFoundError: No module named 'no_such" in line


def test_check_imports_the_classes_and_names_them(affine, capsys):
    assert main(["tasks", "--check", "affine"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    fine = "fine: AffineData; AffineObjective; operators affine, other; baselines linear"
    assert line.endswith(fine)


def test_tasks_may_be_named(affine, capsys):
    assert main(["tasks", "affine", "lp"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["task", "affine", "lp"]
    assert main(["tasks", "--check", "afine"]) == 2
    assert "Did you mean 'affine'?" in capsys.readouterr().err


def test_tasks_without_any_says_how_to_get_some(monkeypatch, capsys):
    monkeypatch.setattr("lit_implicit.registry.entries", list)
    assert main(["tasks"]) == 0
    assert "pip install 'lit-implicit[all]'" in capsys.readouterr().out


def test_tasks_has_its_own_help(capsys):
    assert main(["tasks", "--help"]) == 0
    assert "--check  Import all that they name" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("affine_task.AffineData", "affine_task.Nothing", "no attribute 'Nothing'"),
        ("affine_task.AffineData", "affine_task.AffineOperator", "derive from LightningDataModule"),
    ],
)
def test_check_finds_a_wrong_class(affine, capsys, old, new, problem):
    spec = affine / "affine_spec.py"
    spec.write_text(spec.read_text().replace(old, new))
    assert main(["tasks", "--check"]) == 2
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("affine "))
    assert problem in line


def test_tasks_accepts_check_only(capsys):
    assert main(["tasks", "--chek"]) == 2
    assert "Did you mean '--check'?" in capsys.readouterr().err
