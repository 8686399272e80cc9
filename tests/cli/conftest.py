"""The affine task, installed for a test, and the command line in process.

Imports of `lit_implicit` stay inside the fixtures: jaxtyping's hook must come first.
"""

import logging
import sys

import pytest
import yaml

SPEC = """
from lit_implicit.task import TaskSpec
task = TaskSpec(
    summary="Affine contractions.",
    data="affine_task.AffineData",
    objective="affine_task.AffineObjective",
    operators={"affine": "affine_task.AffineOperator", "other": "affine_task.OtherAffineOperator"},
    baselines={"linear": "affine_task.AffineNetwork"},
    install="pip install affine",
)
"""


@pytest.fixture(autouse=True)
def quiet_lightning():
    """Lightning's log handlers hold the stream of the test that imported it, closed since."""
    import lightning.pytorch  # noqa: F401

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)


@pytest.fixture
def affine(tmp_path_factory, monkeypatch):
    """Register the task `affine` by a fake distribution."""
    return register(tmp_path_factory.mktemp("site"), monkeypatch, "affine", SPEC)


def register(site, monkeypatch, name, source):
    """Put a distribution with one task on the path."""
    info = site / f"{name}_pkg-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-pkg\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[lit_implicit.tasks]\n{name} = {name}_spec:task\n")
    (site / f"{name}_spec.py").write_text(source)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, f"{name}_spec", raising=False)
    return site


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=1",
]
NO_CURVES = [f"--{m}=null" for m in ("test_time_curve", "lipschitz_curve", "regularity", "audit")]
SHORT = ["--audit.factor=2", "--audit.n_starts=1"]  # ten times the depth, four times, is seconds


@pytest.fixture
def run(affine, workdir):
    """Run a command on the affine task, briefly; without its curves unless they are asked for."""
    from lit_implicit.cli import main

    def run(command, *args, task="affine", curves=False):
        named = [f"--task={task}"] if task else []
        rest = SHORT if curves else NO_CURVES
        return main([command, *QUIET, *rest, *named, *args])

    return run


@pytest.fixture
def settings(affine, workdir, capsys):
    """The settings that a command line leads to, by `--print_config`."""
    from lit_implicit.cli import main

    def settings(*args):
        assert main(["fit", *args, "--print_config"]) == 0, capsys.readouterr().err
        return yaml.safe_load(capsys.readouterr().out)

    return settings


@pytest.fixture
def run_directory(workdir):
    """The directories of the runs so far, the latest last."""

    def run_directory(number=-1):
        return sorted(workdir.glob("runs/*/*"), key=lambda folder: folder.stat().st_mtime)[number]

    return run_directory
