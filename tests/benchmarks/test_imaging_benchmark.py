"""The benchmark of deblurring compares the same gradients and answers, and counts what it says."""

import importlib
import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from imaging.imaging_problem import batch, denoiser

from lit_implicit import Equilibrium, ImplicitLightningModule, Picard, Unrolled
from lit_implicit.errors import CheckpointError
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.objective import ImagingObjective
from lit_implicit_imaging.pgd import ImagingPGD

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PREFIX = "imaging"

# deepinv's own: about arguments that are not given.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=[ImagingHQS, ImagingPGD])
def case(part, request):
    """A small case of untrained weights."""
    photographs = batch(2, 16, 16)
    x = replace(photographs.x, kernel=photographs.x.kernel[:1].expand(2, -1, -1, -1))
    photographs.x = x
    torch.manual_seed(0)
    operator = request.param(ImagingDRUNet((4, 4, 8, 8)))
    made = part("case")
    return made.Case("p", made.untrained(operator, photographs), photographs)


def test_untrained_weights_converge_slowly(case):
    assert case.spectral_radius == pytest.approx(0.9, abs=0.02)
    assert float(case.z_star.norm()) > 0.1
    g, _ = Equilibrium(case.operator).bind(case.batch.x)
    with torch.no_grad():
        z = case.z_star.float()
        assert torch.allclose(g(z), z, atol=1e-4 * float(z.abs().max()))


def test_gradients_to_reach_are_those_of_deep_unrolling(part, case):
    exact = case._in_float64
    found = {}
    for kind, last in ((part("case").IMPLICIT, None), (part("case").JACOBIAN_FREE, 1)):
        layer = Equilibrium(exact.operator, Picard(rtol=0.0, max_iter=250), Unrolled(last))
        y, _ = layer(exact.batch.x)
        found[kind] = torch.autograd.grad(exact.loss(y), exact.parameters)
        assert case.gradient_error(found[kind], kind) < 1e-7
        # A wrong one is off by as much as it is wrong.
        wrong = [1.5 * g for g in found[kind]]
        assert case.gradient_error(wrong, kind) == pytest.approx(0.5, rel=1e-5)
    implicit, free = found.values()
    assert case.gradient_error(free, part("case").IMPLICIT) > 0.01  # two different gradients
    assert case.gradient_error(implicit, part("case").JACOBIAN_FREE) > 0.01


@pytest.mark.parametrize("name", ["IMPLICIT", "JACOBIAN_FREE"])
def test_the_same_settings_are_the_same_gradient(part, case, name):
    """deepinv builds one graph more for the exact gradient; for the other both build one."""
    methods, kind = part("methods"), getattr(part("case"), name)
    theirs = methods.deepinv_step(case, kind, n_iter=30, n_backward=7, rtol=0.0)
    adjoint = methods.paper_adjoint(kind)
    if name == "IMPLICIT":
        adjoint = replace(adjoint, solver=Picard(rtol=0.0, max_iter=7))
    ours = methods.our_step(case, methods.paper_solver(30), adjoint)
    counted = importlib.import_module("solvers_calls").counted
    found, calls = {}, {}
    for label, run in {"theirs": theirs, "ours": ours}.items():
        with counted(case.operator.denoiser) as seen:
            found[label] = run()
        calls[label] = (seen.n, seen.n_vjp)
    n_vjp = 8 if name == "IMPLICIT" else 1
    assert calls == {"theirs": (31 + (name == "IMPLICIT"), n_vjp), "ours": (31, n_vjp)}
    flat = {key: torch.cat([g.flatten() for g in grads]) for key, grads in found.items()}
    apart = (flat["ours"] - flat["theirs"]).norm() / flat["theirs"].norm()
    assert apart < 1e-2 * max(case.gradient_error(found["theirs"], kind), 1e-2)


def test_rows_hold_the_loosest_tolerance_and_what_it_costs(part, case):
    """Of methods whose error is their tolerance, and one that has nothing but the same error."""
    method, calls = part("methods").Method, {"fixed": 3, "good": 2, "hopeless": 1}

    def prepare(name):
        def run(rtol):
            for _ in range(calls[name]):
                case.operator.denoiser(case.target, torch.tensor(0.1)).sum().backward()
            return {"fixed": 1e-3, "good": rtol, "hopeless": 1.0}[name]

        return lambda rtol: lambda: run(rtol)

    methods = [method("a", name, prepare(name), name == "fixed") for name in calls]
    first, good, hopeless = part("rows")._rows(
        case, "evaluation", methods, lambda run: {"error": run()}, 2e-3, rounds=2
    )
    assert (first["rtol"], first["error"], first["n_calls"], first["n_vjp"]) == (None, 1e-3, 3, 3)
    assert (good["rtol"], good["n_calls"], good["n_vjp"]) == (pytest.approx(1e-3), 2, 2)
    assert first["ratio"] == {"median": 1.0, "q25": 1.0, "q75": 1.0}
    assert good["ratio"]["median"] == pytest.approx(
        sum(a / b for a, b in zip(good["seconds_each"], first["seconds_each"], strict=True)) / 2
    )
    assert (hopeless["seconds"], hopeless["failed"]["error"]) == (None, 1.0)
    assert first["peak_bytes"] == pytest.approx(good["peak_bytes"], rel=0.2)


@pytest.mark.slow
def test_rows_are_as_accurate_as_the_first(part, case):
    rows, kind = part("rows"), part("case").IMPLICIT
    for found in (rows.training_rows(case, kind, 1), rows.evaluation_rows(case, 1)):
        first, goal = found[0], found[0]["goal"]
        assert (first["library"], first["fixed"]) == ("deepinv", True)
        assert first["ratio"] == {"median": 1.0, "q25": 1.0, "q75": 1.0}
        assert first["n_calls"] == 102
        assert all(row["seconds"] and row["error"] <= goal for row in found)
    plain = next(row for row in found if row["method"] == "Picard")
    with torch.no_grad():
        layer = Equilibrium(case.operator, Picard(rtol=plain["rtol"], max_iter=500))
        y, solution = layer(case.batch.x)
    assert plain["n_calls"] == solution.n_eval.max()
    assert plain["psnr"] == pytest.approx(float(case.psnr(y).mean()), abs=1e-6)


def test_psnr_and_missing_fixed_points_are_told(part, case):
    noisy = case.target + 0.1
    assert case.psnr(noisy).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)
    torch.manual_seed(0)
    operator = ImagingPGD(denoiser(40.0))
    with pytest.raises(RuntimeError, match="The fixed point of far was not found in 3000 iter"):
        _ = part("case").Case("far", operator, case.batch).z_star


def test_weights_are_read_from_state_dicts_and_checkpoints(part, tmp_path, monkeypatch):
    reading, network = part("case"), denoiser()
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    found, operator = reading.read_weights(path, ImagingDRUNet((4, 4, 8, 8)))
    assert operator is None
    assert all(map(torch.equal, found.parameters(), network.parameters()))
    with pytest.raises(ValueError, match=r"'weights.pt' do not fit an `ImagingDRUNet` .* size"):
        reading.read_weights(path, ImagingDRUNet((4, 8, 8, 8)))
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError):
        reading.read_weights(path, network)
    module = ImplicitLightningModule(ImagingHQS(network, 8.0, 0.05), ImagingObjective())
    monkeypatch.setattr(reading, "load", lambda _: module)
    assert reading.read_weights(path, ImagingDRUNet()) == (network, module.operator)


def _row(library, method, times, fixed=False, part="training, implicit"):
    times = times and [float(t) for t in times]
    return {
        "problem": "p", "part": part, "library": library, "method": method, "fixed": fixed,
        "seconds": times and {"median": sorted(times)[len(times) // 2]}, "seconds_each": times,
    }  # fmt: skip


def test_targets_are_about_the_best_of_ours(part):
    rows = [
        _row("deepinv", "paper's settings", [8, 9, 10], True),
        _row("deepinv", "early stop", None),
        _row("lit-implicit", "paper's settings", [6, 9, 8], True),
        _row("lit-implicit", "Picard", [4, 3, 4]),
        _row("lit-implicit", "Auto", [2, 3, 2]),
        _row("deepinv", "paper's settings", [9, 9], True, "evaluation"),
        _row("deepinv", "early stop", [2, 2], False, "evaluation"),
        _row("lit-implicit", "Picard", [1, 1], False, "evaluation"),
    ]
    memory = [{"problem": "p", "library": "lit-implicit", "method": "Auto", "ratio": 1.2}]
    found = [
        (line["target"], line["measured"], line["reached"])
        for line in part("report").targets(rows, memory)
    ]
    assert found == [
        ("p, training, implicit: as accurate / deepinv", 0.25, True),
        ("p, training, implicit: as accurate / deepinv, early stop", None, None),
        ("p, training, implicit: same settings / deepinv", 0.8, False),
        ("p, evaluation: as accurate / deepinv", pytest.approx(1 / 9), True),
        ("p, evaluation: as accurate / deepinv, early stop", 0.5, True),
        ("p: peak memory, 100 iterations / 5", 1.2, False),
    ]


@pytest.mark.slow
def test_a_quick_run_fills_tables_and_json(part, tmp_path, capsys):
    threads = torch.get_num_threads()
    main = runpy.run_path(str(BENCHMARKS / "imaging.py"))["main"]  # `imaging` are tests' own
    try:
        main(["--quick", "--kinds", "hqs", "--output", str(tmp_path / "i.json")])
    finally:
        torch.set_num_threads(threads)
    content = json.loads((tmp_path / "i.json").read_text())
    assert list(content["cases"]) == ["hqs"]
    assert {row["part"].partition(",")[0] for row in content["rows"]} == {"training", "evaluation"}
    plain = [row for row in content["memory"] if row["method"] == "Picard"]
    assert [row["ratio"] for row in plain] == [pytest.approx(1.0, abs=0.05)]
    assert str(tmp_path) not in json.dumps(content)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120
