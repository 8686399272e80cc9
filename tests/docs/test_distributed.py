"""docs/distributed.md: its commands parse, its settings agree, its numbers are computed so.

The launch lines themselves are run in tests/distributed/test_launchers.py.
"""

import importlib
import json
import logging
import re
import shlex
import signal

import pytest
import yaml
from fenced import ROOT, Document
from torch.distributed.run import get_args_parser

PAGE = Document("distributed.md")
LINES = [line for block in PAGE.blocks("sh") for line in block.splitlines()]
COMMANDS = [line for line in LINES if re.match("lit-implicit|torchrun|srun", line)]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone in which `fit` has left a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.fixture(autouse=True)
def quiet_lightning():
    """Lightning's log handlers hold the stream of the test that imported it, closed since."""
    import lightning.pytorch  # noqa: F401

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def arguments(line):
    """The words of a line behind the program's name, whatever launches it."""
    words = shlex.split(line)
    name = "lit_implicit.cli" if "lit_implicit.cli" in words else "lit-implicit"
    return words[words.index(name) + 1 :]


def settings(line, capsys):
    from lit_implicit.cli import main

    assert main([*arguments(line), "--print_config"]) == 0, capsys.readouterr().err
    return yaml.safe_load(capsys.readouterr().out)


def test_links_lead_somewhere():
    assert PAGE.broken_links() == []


def test_every_command_parses_and_its_launcher_agrees(clone, capsys):
    assert len(COMMANDS) == 6
    last = clone / "runs" / "scalar" / "LAST"
    last.mkdir(parents=True)
    for line in COMMANDS:
        found = settings(line, capsys)
        (last / "config.yaml").write_text(yaml.safe_dump(found))
        trainer, words = found["trainer"], shlex.split(line.replace("$NODE0", "a:1"))
        if words[0] == "torchrun":
            flags = get_args_parser().parse_args([w.replace("$NODE", "0") for w in words[1:]])
            assert flags.training_script == "lit_implicit.cli"
            assert flags.nproc_per_node == str(trainer["devices"])
            assert flags.nnodes.rpartition(":")[2] == str(trainer["num_nodes"])
        if words[0] == "srun":
            options = dict(
                re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", "\n".join(LINES), re.MULTILINE)
            )
            assert options["ntasks-per-node"] == options["gpus-per-node"] == str(trainer["devices"])
            assert options["nodes"] == str(trainer["num_nodes"])
            name, seconds = options["signal"].split("@")
            assert (
                signal.Signals[name] == signal.SIGUSR1
            )  # on which Lightning's environment requeues
            assert int(seconds) == 120  # two minutes, says the text
            assert options["job-name"] not in ("bash", "interactive")  # no job to Lightning
        if "ddp" in line:
            assert trainer["strategy"] == "ddp"


def test_the_line_in_mixed_precision_runs(clone, capsys):
    from lit_implicit.cli import main

    (line,) = [line for line in COMMANDS if "bf16-mixed" in line]
    short = ["--data.n_train=256", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]
    off = [
        f"--{name}=null" for name in ("test_time_curve", "lipschitz_curve", "regularity", "audit")
    ]
    short += ["--trainer.log_every_n_steps=1", *off]
    assert main([*arguments(line), *short]) == 0, capsys.readouterr().err


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("ddp")


def test_efficiency_is_the_rate_per_process_over_that_of_the_first_row(script):
    one, two = script.rows({1: [90.0, 100.0, 140.0], 2: [150.0, 160.0, 100.0]})
    assert one == {
        "n_processes": 1, "samples_per_s": 100.0, "samples_per_s_min": 90.0,
        "samples_per_s_max": 140.0, "efficiency": 1.0,
    }  # fmt: skip
    assert two["efficiency"] == 0.75
    assert script.rows({2: [300.0], 4: [300.0]})[1]["efficiency"] == 0.5


@pytest.mark.slow
def test_the_line_of_the_benchmark_runs(script, tmp_path, capsys):
    (line,) = [line for line in LINES if "benchmarks/ddp.py" in line]
    words = shlex.split(line)[2:]
    words[words.index("ddp.json")] = str(tmp_path / "ddp.json")
    small = ["--batch_size=8", "--n_steps=2", "--n_epochs=3", "--width=8", "--max_iter=3"]
    script.main([*words, *small])
    content = json.loads((tmp_path / "ddp.json").read_text())
    assert [row["n_processes"] for row in content["rows"]] == [1, 2]
    assert [len(rates) for rates in content["samples_per_s"].values()] == [3, 3]  # no warm-up
    assert content["settings"]["batch_size"] == 8
    assert len(content["load_average"]) == 2
    assert {"device", "versions", "commit"} <= content.keys()
    assert "efficiency" in capsys.readouterr().out
