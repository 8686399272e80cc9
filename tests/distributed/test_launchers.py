"""torchrun and srun: one run directory, one table, and a requeued job that goes on."""

import sys

import pytest
import torch
import yaml
from launched import ROOT, SHORT, SIGNALLER, ends, outcome, srun, start, torchrun, written
from two_ranks import free_port

PAGE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
DDP = ["--trainer.devices=2", "--trainer.strategy=ddp"]
FIT = ["fit", "--config", "configs/smoke/scalar.yaml", *SHORT]
FILES = {"config.yaml", "report.json", "metrics.csv", "best.ckpt", "last.ckpt"}


def check_one_run(folder, ended, name="*", n_devices=2):
    """All went well, into one folder, and one process alone printed its table and path."""
    for code, _, err in ended:
        assert code == 0, err
    (run,) = folder.glob(f"runs/scalar/{name}")
    outside = {path for path in written(folder) if run.relative_to(folder) not in path.parents}
    assert outside == set()
    names = [path.name for path in written(folder)]
    assert {*names} >= FILES
    assert all(names.count(name) == 1 for name in FILES)
    out = "".join(out for _, out, _ in ended)
    assert out.count("loss (lower is better)") == 1
    assert out.splitlines()[-1] == str(run.relative_to(folder))
    assert out.count(str(run.relative_to(folder))) == 1
    report, _ = outcome(run)
    assert report["n_devices"] == n_devices
    return run


def lines(start):
    found = [line for line in PAGE.splitlines() if line.startswith(start)]
    assert found
    return found


@pytest.mark.slow
def test_torchrun_on_one_node_as_the_page_says(tmp_path):
    line = lines("torchrun --nproc_per_node 2")[0]
    check_one_run(tmp_path, ends([torchrun(line, tmp_path, *SHORT)]))


@pytest.mark.slow
def test_torchrun_on_two_nodes_as_the_page_says(tmp_path):
    (line,) = lines("torchrun --nnodes 2")
    line = line.replace("$NODE0", f"127.0.0.1:{free_port()}").replace(
        "--nproc_per_node 4", "--nproc_per_node 1"
    )
    line = line.replace("--trainer.devices 4", "--trainer.devices 1")
    nodes = [torchrun(line.replace("$NODE", str(n)), tmp_path, *SHORT) for n in (0, 1)]
    check_one_run(tmp_path, ends(nodes))


@pytest.mark.slow
def test_lightnings_own_launcher_on_two_nodes(tmp_path):
    """Started by hand on each: the first process of the second node has no rank, but NODE_RANK."""
    port = str(free_port())
    flags = [*FIT, "--trainer.devices=1", "--trainer.num_nodes=2", "--trainer.strategy=ddp"]
    program = [sys.executable, "-m", "lit_implicit.cli"]
    nodes = [
        start(
            [*program, *flags],
            tmp_path,
            NODE_RANK=str(n),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for n in (0, 1)
    ]
    check_one_run(tmp_path, ends(nodes))


@pytest.mark.slow
def test_a_used_run_directory_stops_all_ranks_with_one_line(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.yaml").write_text("{}")
    ended = ends(srun([*FIT, *DDP, "--run_dir=used"], tmp_path))
    assert [code for code, _, _ in ended] == [2, 2]
    first, other = (err.strip() for _, _, err in ended)
    assert first.splitlines()[-1].startswith("error: `run_dir` 'used' already holds a run.")
    assert "error" not in other


EXTRAS = {
    "trainer": {
        "max_epochs": 3,
        "callbacks": [
            {"class_path": "signaller.Signaller"},
            {"class_path": "lit_implicit.IterationBudget", "init_args": {"min_iter": 2}},
        ],
    },
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-2}},
}


@pytest.mark.slow
@pytest.mark.parametrize("n_nodes", [1, 2])
def test_srun_and_a_requeue_in_mid_epoch(tmp_path, monkeypatch, n_nodes):
    """SLURM's signal comes to one rank alone, in the middle of an epoch of two steps."""
    (tmp_path / "signaller.py").write_text(SIGNALLER)
    (tmp_path / "extras.yaml").write_text(yaml.safe_dump(EXTRAS))
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $* >> {tmp_path}/job\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    flags = [*FIT, "--config", "extras.yaml", "--trainer.max_epochs=3", "--trainer.strategy=ddp"]
    flags += [f"--trainer.devices={2 // n_nodes}", f"--trainer.num_nodes={n_nodes}"]
    ended = ends(srun(flags, tmp_path, 2, n_nodes, SIGNAL_AT="1:2", SIGNAL="SIGUSR1"))
    assert [code for code, _, _ in ended] == [143, 143], ended
    assert (tmp_path / "job").read_text() == "requeue 4711\n"
    assert "SLURM job 4711 is requeued" in ended[0][2]
    (run,) = tmp_path.glob("runs/scalar/*_job4711.0")
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3

    ended = ends(srun(flags, tmp_path, 2, n_nodes, SLURM_RESTART_COUNT="1"))
    assert check_one_run(tmp_path, ended) == run
    assert (run / "metrics_1.csv").is_file()  # of the steps before
    if n_nodes == 2:
        return
    report, weights = outcome(run)
    ended = ends(srun([*flags, "--run_dir=whole"], tmp_path, 2, n_nodes))
    assert [code for code, _, _ in ended] == [0, 0], ended
    whole, whole_weights = outcome(tmp_path / "whole")
    assert report["metrics"] == whole["metrics"]
    assert all(torch.equal(weight, whole_weights[name]) for name, weight in weights.items())


MISMATCH = "error: The processes that were started are not those that the trainer expects"


@pytest.mark.slow
def test_processes_that_the_trainer_does_not_expect_are_one_line(tmp_path):
    """Each would train by itself, or wait for ever."""
    ended = ends(srun([*FIT, *DDP], tmp_path, SLURM_NTASKS_PER_NODE="3"))
    ended += ends([torchrun("torchrun --nproc_per_node 2 -m lit_implicit.cli", tmp_path, *FIT)])
    assert [code for code, _, _ in ended] == [2, 2, 1]  # torchrun has its own
    (first, other), (elastic,) = ([err for _, _, err in part] for part in (ended[:2], ended[2:]))
    assert [err.count(MISMATCH) for err in (first, other, elastic)] == [1, 0, 1]
    assert "Set `devices=3`" in first
    assert "does not match the world size (2)" in elastic
    assert "Traceback" not in first + other
    assert written(tmp_path) == set()
