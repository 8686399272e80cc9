"""A run that was killed goes on to the numbers of one that was not, to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]

KILLER = """
import os, signal
from lightning.pytorch import Callback

class Killer(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == int(os.environ.get("KILL_AT", -1)):
            os.kill(os.getpid(), getattr(signal, os.environ["KILL_BY"]))
"""

# Everything that is drawn while training: order of the points, budgets, probes of the penalty.
EXTRAS = {
    "trainer": {
        "max_epochs": 4,
        "enable_progress_bar": False,
        "callbacks": [
            {"class_path": "killer.Killer"},
            {"class_path": "lit_implicit.IterationBudget", "init_args": {"min_iter": 2}},
            {"class_path": "lit_implicit.WarmStart"},
        ],
    },
    "model": {
        "init_args": {
            "regularizers": [
                {"class_path": "lit_implicit.JacobianNorm", "init_args": {"weight": 0.1}}
            ]
        }
    },
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-2}},
    "lr_scheduler": {
        "class_path": "torch.optim.lr_scheduler.CosineAnnealingLR",
        "init_args": {"T_max": 4},
    },
    **dict.fromkeys(("test_time_curve", "lipschitz_curve", "regularity", "audit", "gallery")),
}

CONFIGS = ["--config", ROOT / "configs/smoke/scalar.yaml", "--config", "extras.yaml"]


def fit(folder, *args, **environment):
    """Run `lit-implicit fit` in a process of its own."""
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    program = Path(sys.executable).with_name("lit-implicit")
    return subprocess.run(
        [program, "fit", *map(str, args)], cwd=folder, capture_output=True, text=True, check=False,
        timeout=300, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def outcome(folder):
    metrics = json.loads((folder / "report.json").read_text())["metrics"]
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return metrics, last["state_dict"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the run of which nothing was cut off, and what it ended with."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "killer.py").write_text(KILLER)
    (folder / "extras.yaml").write_text(yaml.safe_dump(EXTRAS))
    done = fit(folder, *CONFIGS, "--run_dir=whole")
    assert done.returncode == 0, done.stderr
    return folder, outcome(folder / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    # Two steps an epoch: the fifth is in the middle of the third, the sixth is validated.
    ("how", "code", "at", "step"),
    [("SIGKILL", -9, 5, 4), ("SIGTERM", 143, 4, 5), ("SIGINT", 130, 4, 5), ("SIGTERM", 143, 5, 6)],
)  # fmt: skip
def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(whole, how, code, at, step):
    folder, (metrics, weights) = whole
    run = f"{how}_{at}"
    killed = fit(folder, *CONFIGS, f"--run_dir={run}", KILL_AT=str(at), KILL_BY=how)
    assert killed.returncode == code, killed.stderr
    last = folder / run / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step
    if how != "SIGKILL":
        assert "Traceback" not in killed.stderr
        advice = killed.stderr.splitlines()[-1]
        assert advice.startswith("To resume: lit-implicit fit --config")
        arguments = advice.split()[4:]
    else:
        arguments = ["--config", folder / run / "config.yaml", "--ckpt_path", last]
    resumed = fit(folder, *arguments, f"--run_dir={run}_resumed")
    assert resumed.returncode == 0, resumed.stderr
    again, weights_again = outcome(folder / f"{run}_resumed")
    assert again == metrics
    assert weights.keys() == weights_again.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, weights_again[name]), name
