"""What training is given beside its loss: regularizers and a schedule of adjoints, from YAML."""

import csv
import os
import subprocess
import sys

import pytest
import torch
import yaml

from lit_implicit import JacobianFree, JacobianNorm, Picard, Unrolled
from lit_implicit.loading import load

FRAGMENT = """
model:
  adjoint: {class_path: lit_implicit.JacobianFree, init_args: {steps: 3, damping: 0.8}}
  regularizers: [{class_path: lit_implicit.JacobianNorm, init_args: {weight: 0.1, n_probes: 2}}]
trainer:
  callbacks:
    - class_path: lit_implicit.AdjointSchedule
      init_args:
        warmup: {class_path: lit_implicit.Unrolled}
        warmup_solver: {class_path: lit_implicit.Picard, init_args: {max_iter: 12}}
        until_step: 3
"""


def column(path, name):
    with (path / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_config_with_a_warm_up_and_a_regularizer(run, run_directory, workdir, monkeypatch):
    from lit_implicit.module import ImplicitLightningModule

    seen, step = [], ImplicitLightningModule.training_step

    def noting(self, batch, batch_idx):
        layer = self.train_equilibrium
        seen.append((layer.adjoint, layer.solver.max_iter))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ImplicitLightningModule, "training_step", noting)
    (workdir / "training.yaml").write_text(FRAGMENT)
    assert run("fit", "--config=training.yaml", "--trainer.max_epochs=3") == 0
    own = (JacobianFree(3, 0.8), 50)
    assert seen == [(Unrolled(), 12)] * 3 + [own] * 3
    # What is saved and loaded is the module's own.
    folder = run_directory()
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"]["init_args"]["regularizers"] == [
        {
            "class_path": "lit_implicit.JacobianNorm",
            "init_args": {"weight": 0.1, "n_probes": 2, "seed": 0},
        }
    ]
    module = load(folder / "checkpoints" / "best.ckpt")
    assert module.regularizers == (JacobianNorm(0.1, 2),)
    assert module.train_equilibrium.adjoint == own[0]
    norms = column(folder, "train/jacobian_norm")
    assert len(norms) == 3
    assert norms[0] == pytest.approx(0.09, rel=0.05)  # starts at W = 0.3 I
    # And the saved config repeats the run.
    del seen[:]
    assert run("fit", f"--config={folder / 'config.yaml'}") == 0
    assert column(run_directory(), "train/jacobian_norm")[0] == norms[0]
    assert seen[0] == (Unrolled(), 12)


@pytest.mark.parametrize(
    "flag",
    [
        '--model.regularizers=[{"class_path": "JacobianNorm", "init_args": {"weight": 0.2}}]',
        "--model.regularizers+=lit_implicit.JacobianNorm",
        None,
    ],
)
def test_regularizers_on_the_command_line(settings, flag):
    flags = [flag] if flag else []
    if flag and "+=" in flag:
        flags.append("--model.regularizers.weight=0.2")
    found = settings("--task=affine", *flags)["model"]["init_args"]["regularizers"]
    one = {
        "class_path": "lit_implicit.JacobianNorm",
        "init_args": {"weight": 0.2, "n_probes": 1, "seed": 0},
    }
    assert found == ([one] if flag else [])


def test_the_defaults_load_without_regularizers(run, run_directory):
    assert run("fit") == 0
    module = load(run_directory() / "checkpoints" / "best.ckpt")
    assert module.regularizers == ()
    assert not isinstance(module.solver, Picard)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ['--model.regularizers=[{"class_path": "JacobianNorm", "init_args": {"weight": -1}}]'],
            "`JacobianNorm.weight` must be at least 0 and finite, got -1.0",
        ),
        (
            [
                "--trainer.callbacks+=lit_implicit.AdjointSchedule",
                "--trainer.callbacks.warmup=lit_implicit.Unrolled",
            ],
            "needs either `until_step` or `until_epoch`",
        ),
        (['--model.regularizers=[{"class_path": "JacobianNormm"}]'], "JacobianNorm"),
    ],
)
def test_mistakes_are_one_line(run, capsys, flags, message):
    assert run("fit", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


FAILING = """
import torch
from affine_task import AffineOperator

class FailingOperator(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 0, float("nan"), 1.0)
"""


@pytest.mark.slow
def test_two_processes_go_on_where_all_samples_of_one_have_failed(affine, workdir, run_directory):
    from pathlib import Path

    (affine / "failing_task.py").write_text(FAILING)
    path = os.pathsep.join([str(affine), str(Path(__file__).parents[1])])
    flags = [
        "--task=affine", "--model.operator=failing_task.FailingOperator", "--data.n_samples=12",
        "--data.batch_size=1", "--trainer.accelerator=cpu", "--trainer.max_epochs=2",
        "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.enable_progress_bar=false",
        "--trainer.log_every_n_steps=1", "--test_after_fit=false", "--lipschitz_curve=null",
        '--model.regularizers=[{"class_path": "JacobianNorm", "init_args": {"weight": 1.0}}]',
    ]  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("lit-implicit"), "fit", *flags],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = run_directory()
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    assert column(folder, "train/n_failed") == [float((x[:, 0] > 0).sum())] * 2
    norms = column(folder, "train/jacobian_norm")
    assert norms[0] == pytest.approx(0.09, rel=0.1)
