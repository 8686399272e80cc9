"""Two processes on the CPU: one run directory, one table, no deadlock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_share_one_run_directory(affine, workdir):
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(affine), str(tests)])
    command = [
        Path(sys.executable).with_name("lit-implicit"), "fit", "--task=affine",
        "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp",
        "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = workdir.glob("runs/affine/*")
    assert done.stdout.splitlines()[-1] == str(folder.relative_to(workdir))
    assert done.stdout.count(str(folder.relative_to(workdir))) == 1
    report = json.loads((folder / "report.json").read_text())
    assert report["n_devices"] == 2
    assert {"val", "test"} == set(report["metrics"])
    assert (folder / "figures" / "test_lipschitz_curve.csv").exists()
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
