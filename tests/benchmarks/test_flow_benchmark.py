"""The benchmark of flows compares the same gradients, by both libraries."""

import json
import runpy
from argparse import Namespace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PREFIX = "flow"

# torchdeq's own, and of tensors that stand for numbers.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def script(part):
    """The script itself; `flow` are these tests."""
    return runpy.run_path(str(BENCHMARKS / "flow.py"))


@pytest.mark.parametrize("kind", ["exact", "phantom"])
def test_all_methods_find_the_same_gradient(part, script, kind):
    given = Namespace(quick=True, weights=None, device="cpu")
    case = script["_case"](given, script["_data"](given))
    other = {"exact": "phantom", "phantom": "exact"}[kind]
    for method in part("methods").methods(case, kind):
        if method.name == "anderson":  # its ridge does not let it so near
            continue
        found = method.prepare(1e-5)()
        assert case.gradient_error(found, kind) < 1e-3, method.label
        assert case.gradient_error(found, other) > 1e-3, method.label


def test_a_trial_run_says_what_was_measured(script, tmp_path, capsys):
    path = tmp_path / "flow.json"
    content = script["main"](["--quick", "--clock", "cpu", "--output", str(path)])
    assert json.loads(path.read_text())["targets"] == content["targets"]
    assert len(content["targets"]) == 4
    assert content["clock"] == "cpu"
    for row in content["rows"]:
        at_tolerance = row["part"] == "same tolerance"
        assert at_tolerance or row["seconds"] is None or row["error"] <= row["goal"]
    assert content["rounds"] == 1
    assert content["nu"] == 0.04
    assert "phantom gradients" in capsys.readouterr().out
