"""examples/custom_task, built and installed as a stranger would, in processes of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
import torch

COMMAND = Path(sysconfig.get_path("scripts")) / "lit-implicit"


def run(*command, path, cwd):
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, cwd=cwd, timeout=900,
        env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def column(path, name):
    with path.open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def installed(example, tmp_path_factory):
    """A folder that holds the built package and its metadata, and nothing else of the example.

    hatchling is a development dependency, so that nothing is fetched. uv where it is there, as in
    every environment that uv made; else pip.
    """
    target = tmp_path_factory.mktemp("site")
    uv = os.environ.get("UV") or shutil.which("uv")
    pip = [uv, "pip", "install", "--offline", "--python", sys.executable]
    pip = pip if uv else [sys.executable, "-m", "pip", "install", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", target]
    run(*pip, *options, example, path="", cwd=target)
    assert {path.name for path in target.glob("kepler*")} == {"kepler", "kepler-0.1.0.dist-info"}
    return target


@pytest.mark.slow
def test_stranger_installs_trains_resumes_and_predicts(installed, tmp_path, example):
    def command(*args):
        return run(COMMAND, *args, path=installed, cwd=tmp_path)

    out = command("tasks", "--check", "kepler")
    assert "kepler 0.1.0  kepler:task  fine: KeplerData; KeplerObjective; operators relu" in out

    config = shutil.copy(example / "kepler.yaml", tmp_path)
    no_bar = "--trainer.enable_progress_bar=false"
    out = command("fit", "--config", config, "--task", "kepler", no_bar)
    folder = tmp_path / out.splitlines()[-1]
    report = json.loads((folder / "report.json").read_text())
    assert report["metrics"]["test"]["error"] < 0.06  # README: 0.027; machines round otherwise
    assert report["metrics"]["test"]["converged"] == 1
    assert "audit: an equilibrium." in out

    # What the project is about: the error falls and the map becomes steeper with t.
    error = column(folder / "figures" / "test_test_time_curve.csv", "error_mean")
    slope = column(folder / "figures" / "test_lipschitz_curve.csv", "lipschitz_M")
    at = [0, 1, 2, 3, 6]
    assert all(error[b] < 0.8 * error[a] for a, b in pairwise(at)), error
    assert all(slope[b] > 1.2 * slope[a] for a, b in pairwise(at)), slope
    assert slope[1] < 1.02, "by construction, up to the error of torch's power iteration"
    assert slope[40] > 3

    last = folder / "checkpoints" / "last.ckpt"
    more = ["--trainer.max_epochs=61", "--test_after_fit=false", "--run_dir=more", no_bar]
    command("fit", "--config", folder / "config.yaml", "--ckpt_path", last, *more)
    epochs = column(tmp_path / "more" / "metrics.csv", "epoch")
    assert set(epochs) == {60}

    best = folder / "checkpoints" / "best.ckpt"
    args = ["--config", folder / "config.yaml", "--ckpt_path", best]
    command("predict", *args, "--run_dir=answers", no_bar)
    (file,) = (tmp_path / "answers" / "predictions").iterdir()
    y = torch.load(file, weights_only=True)[:, 0].double()
    m, e = orbits(installed, tmp_path)
    assert y.shape == (256,)
    # An answer E is right if E - e sin E gives back M: no solver of the equation is asked.
    back = y - e * y.sin()
    assert (back - m).abs().mean() < 0.05
    assert (back - m).abs().max() < 0.5


def orbits(installed, folder):
    """M and e of the orbits to predict, by the installed package."""
    code = (
        "import torch; from kepler.data import KeplerData; data = KeplerData(); data.setup(); "
        "torch.save(torch.cat([x for x, _ in data.predict_dataloader()]), 'orbits.pt')"
    )
    run(sys.executable, "-c", code, path=installed, cwd=folder)
    return torch.load(folder / "orbits.pt", weights_only=True).double().T
