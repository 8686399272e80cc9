"""Two processes on the CPU: one run directory, one table, and the numbers of one process."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_implicit.cli import main

FLAGS = [
    "--task=affine", "--data.n_samples=12", "--model.objective.drawn=false",
    "--optimizer=SGD", "--optimizer.lr=0.05", "--trainer.accelerator=cpu", "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--trainer.log_every_n_steps=1",
]  # fmt: skip


@pytest.fixture
def runs(affine, workdir):
    """The folders of a run of two processes and of one, which takes the same steps."""
    path = os.pathsep.join([str(affine), str(Path(__file__).parents[1])])
    flags = ["--data.batch_size=6", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [Path(sys.executable).with_name("lit-implicit"), "fit", *FLAGS, *flags],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (two,) = workdir.glob("runs/affine/*")
    assert done.stdout.splitlines()[-1] == str(two.relative_to(workdir))
    assert done.stdout.count(str(two.relative_to(workdir))) == 1
    # All samples at each step, as Lightning deals out those of training in an order of its own.
    flags = ["--data.batch_size=12", "--trainer.devices=1", "--run_dir=one"]
    assert main(["fit", *FLAGS, *flags]) == 0
    return two, workdir / "one"


def columns_of(path):
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


@pytest.mark.slow
def test_two_processes_share_one_run_directory_and_give_the_numbers_of_one(runs):
    two, one = runs
    assert {p.name for p in (two / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    reports = [json.loads((run / "report.json").read_text()) for run in runs]
    assert [report["n_devices"] for report in reports] == [2, 1]
    assert {"val", "test"} == set(reports[0]["metrics"])
    # In float32, where sums of other parts round otherwise.
    close = {"rel": 1e-4, "abs": 1e-6}
    for stage in ("val", "test"):
        numbers, expected = (report["metrics"][stage] for report in reports)
        assert numbers == pytest.approx(expected, **close)
    assert reports[0]["metrics"]["test"]["error"] > 0.1  # else 0 = 0 would do
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in runs
    ]
    weight = weights[1]["operator.weight"]
    torch.testing.assert_close(weights[0]["operator.weight"], weight, rtol=1e-5, atol=1e-6)
    assert not weight.equal(torch.eye(3) * 0.3)  # it was trained
    for curve in ("test_time_curve", "lipschitz_curve"):
        names = [f"{stage}_{curve}" for stage in ("val", "test")]
        for name in names:
            numbers = columns_of(two / "figures" / f"{name}.csv")
            expected = columns_of(one / "figures" / f"{name}.csv")
            assert numbers.keys() == expected.keys()
            numbers.pop("seconds", None)  # no two runs take the same
            for column, values in numbers.items():
                assert values == pytest.approx(expected[column], **close), (name, column)
        counts = [
            json.loads((run / "figures" / f"{names[1]}.json").read_text())["settings"]["n_samples"]
            for run in runs
        ]
        assert counts[0] == counts[1] in (12, {"input": 12})
