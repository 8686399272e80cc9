"""The benchmark of flows compares the same gradients, by both libraries."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from flow.flow_problem import batch

from lit_implicit_flow.fno import FlowFNO

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# torchdeq's own, and of tensors that stand for numbers.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def part():
    """Return a module of the benchmark by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module


@pytest.fixture(scope="module")
def case(part):
    """A small case of drawn weights."""
    torch.manual_seed(0)
    flows = batch(2, side=12, nu=0.05)
    operator = FlowFNO(width=3, modes=3, padding=0, positions=False)
    made = part("flow_case")
    return made.FlowCase(made.untrained(operator, flows), flows)


@pytest.mark.parametrize("kind", ["exact", "phantom"])
def test_all_methods_find_the_same_gradient(part, case, kind):
    other = {"exact": "phantom", "phantom": "exact"}[kind]
    for method in part("flow_methods").methods(case, kind):
        if method.name == "anderson":  # its ridge does not let it so near
            continue
        found = method.prepare(1e-5)()
        assert case.gradient_error(found, kind) < 1e-3, method.label
        assert case.gradient_error(found, other) > 1e-3, method.label


def test_a_trial_run_says_what_was_measured(part, tmp_path, capsys):
    path = tmp_path / "flow.json"
    content = part("flow").main(["--quick", "--clock", "cpu", "--output", str(path)])
    assert json.loads(path.read_text())["targets"] == content["targets"]
    assert len(content["targets"]) == 4
    assert content["clock"] == "cpu"
    for row in content["rows"]:
        assert row["seconds"] is None or row["error"] <= row["goal"] or row["rtol"] == 1e-3
    assert "phantom gradients" in capsys.readouterr().out
