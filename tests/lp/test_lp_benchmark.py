"""benchmarks/lp.py: its methods solve what they say they solve, its columns are computed so."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lit_implicit import ImplicitLightningModule
from lit_implicit.loading import CONFIG_KEY
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.operator import LPGraphOperator
from lit_implicit_lp.primal_dual import LPPrimalDual

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    # By its path: `lp` is this folder of tests.
    spec = importlib.util.spec_from_file_location("benchmark_lp", ROOT / "benchmarks" / "lp.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_lp", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def highs(script):
    return importlib.import_module("lp_highs")


@pytest.fixture
def batches(script):
    return importlib.import_module("lp_batches")


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint of an operator with drawn weights; return its path and the operator."""

    def save(kind, **settings):
        operator = kind(**settings)
        for parameter in operator.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        model = {
            "class_path": "lit_implicit.ImplicitLightningModule",
            "init_args": {
                "operator": {
                    "class_path": f"{kind.__module__}.{kind.__name__}",
                    "init_args": settings,
                },
                "objective": {"class_path": "lit_implicit_lp.objective.LPObjective"},
            },
        }
        weights = ImplicitLightningModule(operator, LPObjective()).state_dict()
        config = yaml.safe_dump({"model": model, "task": "lp"})
        torch.save({"state_dict": weights, CONFIG_KEY: config}, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt", operator

    return save


def test_highs_answers_every_program_in_order(highs, lp_batch):
    x = LPFeatures.of(lp_batch)
    models = [highs.model(graph) for graph in lp_batch.to_data_list()]
    found = highs.HighsMethod(models, 2, highs.exact())()
    assert torch.allclose(found.y, lp_batch.target, rtol=0, atol=1e-8)
    assert (kkt(x, x.matrix(), found.y, found.dual).worst < 1e-9).all()
    assert (found.n_iter > 0).all()
    # Its first-order method, which stops early, does stop where it is told to.
    for tolerance in (1e-2, 1e-4):
        found = highs.HighsMethod(models, 2, highs.pdlp(tolerance))()
        worst = kkt(x, x.matrix(), found.y, found.dual).worst
        assert (worst <= tolerance).all()
        assert (worst > 1e-3 * tolerance).any()


def test_an_unknown_option_of_highs_is_named(highs):
    with pytest.raises(ValueError, match="has no solver='best'"):
        highs.HighsMethod([], 1, {"solver": "best"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_answer_every_program_in_order(batches, lp_batch, dtype):
    x, cpu = LPFeatures.of(lp_batch), torch.device("cpu")
    whole = [batches.features(lp_batch, 5, 0, dtype)]
    parts = [batches.features(lp_batch, 2, first, dtype) for first in (0, 2, 4)]
    found = [
        batches.BatchMethod(LPPrimalDual("fixed"), some, 1e-2, 2000, cpu)()
        for some in (whole, parts)
    ]
    assert torch.equal(found[0].n_iter, found[1].n_iter)
    assert torch.allclose(found[0].y, found[1].y, rtol=1e-4, atol=1e-4)
    for one in found:
        worst = kkt(x, x.matrix(), one.y.double(), one.dual.double()).worst
        assert (worst <= 1e-2).all()
        assert (worst > 1e-4).any()
    assert found[0].y.dtype == dtype


def test_sweeps_before_the_first_iteration_are_counted(batches, lp_batch):
    parts, cpu = [batches.features(lp_batch, 5, 0, torch.float64)], torch.device("cpu")
    for operator, expected in (
        (LPPrimalDual("fixed"), 2),  # sums of rows and of columns
        (LPPrimalDual("data"), 2 + 4 + 2),  # what networks see, two rounds of messages, the sums
    ):
        method = batches.BatchMethod(operator, parts, 1e-2, 10, cpu)
        # Lengths of rows and columns, too, are worth two.
        assert method.sweeps_of_encode() == expected + 2


def test_learned_step_sizes_alone_are_the_trained_operator_without_trust(batches, save, lp_batch):
    path, trained = save(LPPrimalDual, width=8)
    found = batches.operators(path)
    assert list(found) == ["learned", "learned step sizes only", "unlearned"]
    x = LPFeatures.of(lp_batch)
    trained, alone = trained.double(), found["learned step sizes only"].double()
    with torch.no_grad():
        c = trained.encode(x)
        z = trained.init_state(c)
        z[:, 2] = 0  # the fade: nothing is decided of the iterate any more
        plain, z_plain = alone.encode(x), alone.init_state(alone.encode(x))
        for _ in range(5):
            z, z_plain = trained(z, c), alone(z_plain, plain)
    assert z_plain.abs().max() > 0.1
    assert torch.allclose(z[:, :2], z_plain, rtol=0, atol=1e-12)


def test_operators_of_other_checkpoints(batches, save):
    assert list(batches.operators(None)) == ["unlearned"]
    assert list(batches.operators(save(LPPrimalDual, steps="data")[0])) == ["learned", "unlearned"]
    with pytest.raises(SystemExit, match=r"of an `LPPrimalDual`, got .* holds LPGraphOperator"):
        batches.operators(save(LPGraphOperator, width=4)[0])


def test_a_row_counts_in_float64_and_takes_ratios_within_a_repeat(script, highs, lp_batch):
    models = [highs.model(graph) for graph in lp_batch.to_data_list()]
    exact = highs.HighsMethod(models, 1, highs.exact())()
    y, first = exact.y.clone(), lp_batch.batch == 0
    y[first] = 0  # one of five has no solution any more
    wrong = highs.Answers(y, exact.dual, torch.tensor([1, 2, 3, 4, 5]))
    entries = [
        script.Entry(script.BASE, None, lambda: exact),
        script.Entry("other", 1e-4, lambda: wrong, 6, 5),
    ]
    seconds = [[1.0, 2.0, 4.0], [3.0, 2.0, 8.0]]
    base, other = script.rows("here", entries, seconds, [exact, wrong], lp_batch)
    assert base["solved"] == 1
    assert base["worst_kkt"] < 1e-9
    assert base["error_mean"] < 1e-8
    assert base["ratio"] == {"median": 1.0, "q25": 1.0, "q75": 1.0}
    assert base["sweeps_mean"] is None
    assert other["solved"] == pytest.approx(0.8)
    assert other["ratio"] == {"median": 2.0, "q25": 1.5, "q75": 2.5}  # 3, 1, 2
    assert other["seconds"] == {"median": 3.0, "q25": 2.5, "q75": 5.5}
    assert other["per_second"] == pytest.approx(5 / 3)
    assert (other["n_iter_mean"], other["n_iter_max"], other["sweeps_mean"]) == (3, 5, 5 + 18)
    size = lp_batch.target[first].norm()
    assert other["error_mean"] == pytest.approx((size / (size + 1)).item() / 5)


@pytest.mark.slow
def test_the_benchmark_runs(script, save, lp_root, tmp_path, capsys):
    torch.set_num_threads(1)
    words = ["--ckpt_path", str(save(LPPrimalDual, width=4)[0]), "--root", str(lp_root)]
    words += ["--cases", "10x50", "--n", "3", "--batch_size", "2", "--max_iter", "30"]
    words += ["--repeats", "2", "--threads", "1", "--output", str(tmp_path / "lp.json")]
    script.main(words)
    content = json.loads((tmp_path / "lp.json").read_text())
    methods = {(row["method"], row["tolerance"]) for row in content["rows"]}
    assert len(methods) == len(content["rows"]) == 1 + 3 * 4
    assert all(len(row["seconds_each"]) == 2 for row in content["rows"])
    assert {"device", "versions", "commit", "date", "threads", "load_average"} <= content.keys()
    assert content["parameters"]["unlearned"] == 0 < content["parameters"]["learned"]
    assert content["versions"]["highspy"]
    assert "HiGHS PDLP" in capsys.readouterr().out
