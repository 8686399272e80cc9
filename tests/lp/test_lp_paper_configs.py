"""The configs of the paper's Table 1: its protocol, run for a few steps on small data."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

from lit_implicit.cli import main
from lit_implicit.reporting.report import count_parameters
from lit_implicit_lp.network import LPGraphNetwork
from lit_implicit_lp.operator import LPGraphOperator

CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
WIDTHS = (4, 8, 16, 32)
CLASSES = {"implicit": ("operator", LPGraphOperator), "explicit": ("network", LPGraphNetwork)}


def read(kind, width):
    path = CONFIGS / f"lp_table1_{kind}_{width}.yaml"
    return path.read_text(), yaml.safe_load(path.read_text())


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("width", WIDTHS)
def test_config_names_its_width_and_parameters(kind, width):
    text, config = read(kind, width)
    key, network = CLASSES[kind]
    settings = config["model"]["init_args"][key]
    assert settings["class_path"].endswith(network.__name__)
    assert settings["init_args"] == {"width": width, "cost_scale": 1.0, "bound_scale": 1.0}
    n_parameters = count_parameters(network(width))
    assert f"{kind} graph network of width {width} ({n_parameters:,} parameters)" in text


@pytest.mark.parametrize("kind", CLASSES)
def test_widths_differ_in_nothing_else(kind):
    configs = [read(kind, width)[1] for width in WIDTHS]
    for config in configs:
        del config["model"]["init_args"][CLASSES[kind][0]]["init_args"]["width"]
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize("kind", CLASSES)
def test_both_phases_run(kind, tmp_path, lp_root):
    _, config = read(kind, 4)
    callbacks = {c["class_path"].rpartition(".")[2]: c for c in config["trainer"]["callbacks"]}
    weights = callbacks["BestWeights"]["init_args"]
    # 10,001 epochs of the first phase and 5,001 of the second, numbered from 0.
    assert (config["trainer"]["max_epochs"], weights["phases"]) == (15002, {10001: 1e-4})
    assert config["data"]["batch_size"] == 2500  # all of them: an epoch is a step
    weights["phases"] = {3: 1e-4}
    if kind == "implicit":
        assert callbacks["AdjointSchedule"]["init_args"]["until_epoch"] == 10001
        callbacks["AdjointSchedule"]["init_args"]["until_epoch"] = 3
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    options = [
        "--trainer.max_epochs=6", "--trainer.check_val_every_n_epoch=6", "--data.n_train=16",
        "--data.n_val=4", "--data.n_test=4", f"--data.root={lp_root}", "--data.progress=false",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        f"--run_dir={tmp_path / 'run'}", "--test_time_curve=null", "--lipschitz_curve=null",
        "--regularity=null", "--audit=null",
    ]  # fmt: skip
    assert main(["fit", "--config", str(path), *options]) == 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(rows) == 6
    losses = [float(row["train/loss"]) for row in rows]
    checkpoint = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-4
    state = checkpoint["callbacks"]["BestWeights"]
    assert state["least"] == min(losses[3:])  # of the second phase alone
    saved = checkpoint["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in state["weights"].items())
    if kind == "implicit":
        assert [float(row["train/n_iter_mean"]) for row in rows] == [3, 3, 3, 6, 6, 6]
        report = yaml.safe_load((tmp_path / "run/report.json").read_text())
        assert report["metrics"]["test"]["n_iter_max"] == 8
