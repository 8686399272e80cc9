"""The README's commands and code, run as they stand but for their length."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SMALL = [
    "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1", "--trainer.limit_predict_batches=1",
    "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1", "--data.progress=false",
    "--data.n_train=8", "--data.n_val=4", "--data.n_test=4",
]  # fmt: skip

MODEL = """NAME
ROWS
 N COST
 L sum
COLUMNS
 x COST -1 sum 1
RHS
 RHS sum 2
ENDATA
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.split("uv run ")[-1] for line in lines if "lit-implicit" in line]


def test_the_first_commands_are_those_that_a_newcomer_runs():
    first, second = blocks("sh")[0].splitlines()
    assert first == "pip install uv && uv run lit-implicit fit --config configs/lp.yaml"
    assert second == "uv run pytest"


@pytest.mark.slow
def test_commands_run(tmp_path, monkeypatch, capsys):
    """In the README's order, in a clone: the first makes the run that the others go on with."""
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setattr(sys, "argv", ["lit-implicit"])
    (tmp_path / "model.mps").write_text(MODEL)
    assert len(commands()) == 8
    for number, command in enumerate(commands()):
        args = shlex.split(command)[1:]
        if number:
            last = sorted((tmp_path / "runs" / "lp").iterdir())[0].name
            args = [arg.replace("LAST", last) for arg in args]
        # As a shell does.
        args = [str(p) for arg in args for p in (sorted(Path().glob(arg)) if "*" in arg else [arg])]
        if args[0] not in ("tasks", "report"):
            args += SMALL
        if args[0] == "fit":
            # Of 300 iterations; the other commands take it from the config that this run saves.
            args += ["--trainer.max_epochs=1", "--model.test_solver.max_iter=30"]
        if args[0] in ("fit", "test"):  # `curve` measures all of it, as far as it is told to
            args += ["--audit=null", "--regularity=null"]
            args += ["--test_time_curve.n_iter=4", "--lipschitz_curve.n_iter=4"]
        if args[0] == "curve":  # the smoke configs audit at full length
            args += ["--audit.factor=2", "--audit.n_starts=1"]
        assert main(args) == 0, f"{command}: {capsys.readouterr().err}"
    assert "lp" in capsys.readouterr().out


def test_the_layer_trains_in_plain_pytorch():
    source = next(block for block in blocks("python") if "class Net" in block)
    assert len(source.splitlines()) <= 25
    scope = {}
    torch.manual_seed(0)
    exec(source, scope)
    net, x = scope["Net"](), torch.randn(64, 8)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (net(x) - x.sum(1, keepdim=True).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_spec_of_a_task_is_valid():
    scope = {}
    exec(next(block for block in blocks("python") if "TaskSpec" in block), scope)
    assert scope["task"].default_operator == "my_package.operator.MyOperator"


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


def test_no_number_is_left_open():
    assert not re.search(r"@[A-Z0-9]+@", README)
