"""`predict` on MPS files: the table, the JSON, and files that cannot be read."""

import json
import logging

import pytest
import torch
from lp.netlib import OPTIMAL, netlib
from lp.test_lp_mps import ALL_KINDS, highs, write

from lit_implicit_lp.data import LPDataModule

IMPOSSIBLE = """NAME
ROWS
 N COST
 E sum
COLUMNS
 x COST 1 sum 1
 y COST 1 sum 1
RHS
 RHS sum 5
BOUNDS
 UP BND x 2
 UP BND y 2
ENDATA
"""
# max x + y, x - y <= 1 and >= -1.
ENDLESS = """NAME
OBJSENSE
 MAX
ROWS
 N COST
 L difference
COLUMNS
 x COST 1 difference 1
 y COST 1 difference -1
RHS
 RHS difference 1
RANGES
 RNG difference 2
ENDATA
"""
SETTINGS = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
PDHG = [
    "--model.operator=LPPrimalDual",
    "--model.operator.steps=fixed",
    "--model.operator.scaling_rounds=10",
    "--model.solver=lit_implicit.Picard",
    "--model.solver.rtol=0.0",
    "--model.solver.max_iter=5000",
]
DOUBLE = ["--data.dtype=float64", "--trainer.precision=64-true"]


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """Predict on files in an empty current folder; return the exit code and what was printed."""
    import lightning.pytorch  # noqa: F401

    from lit_implicit.cli import main

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)

    def run(files, *args):
        given = f"--data.files=[{','.join(map(str, files))}]"
        code = main(["predict", "--task=lp", *SETTINGS, "--run_dir=run", given, *args])
        return code, capsys.readouterr()

    return run


def read(folder, name):
    return json.loads((folder / f"run/predictions/{name}.lp.json").read_text())


def test_files_are_solved_and_told_by_name(tmp_path, predict):
    paths = [
        write(tmp_path, text, name)
        for name, text in (
            ("kinds.mps", ALL_KINDS), ("impossible.mps", IMPOSSIBLE), ("endless.mps", ENDLESS)
        )
    ]  # fmt: skip
    code, printed = predict([tmp_path], *PDHG, *DOUBLE)
    assert code == 0
    table = [[cell.strip() for cell in line.split("│")] for line in printed.out.splitlines()]
    table = {row[0]: row[1:] for row in table if row[1:]}
    assert list(table) == ["endless", "impossible", "kinds"]
    assert table["impossible"][0] == "INFEASIBLE"
    assert table["endless"][0] == "UNBOUNDED"
    assert not (tmp_path / "data").exists()  # no random program was solved

    found = read(tmp_path, "kinds")
    value, _, duals = highs(paths[0])
    assert found["status"] == "OPTIMAL"
    assert found["solver_status"] == "CONVERGED"
    assert found["objective"] == pytest.approx(value, rel=1e-3)
    assert float(table["kinds"][1]) == pytest.approx(found["objective"], rel=1e-7)
    worst = max(found["primal_residual"], found["dual_residual"], found["gap"])
    assert worst <= found["tolerance"] == 1e-4
    y = found["solution"]
    assert found["objective"] == pytest.approx(
        10 + y["X"] + 2 * y["Y"] - y["Z"] + 1.25 * y["W"] + 0.5 * y["V"], rel=1e-12
    )
    # A dual converges more slowly than the gap.
    assert list(found["duals"].values()) == pytest.approx(list(duals), abs=0.02)

    proof = read(tmp_path, "impossible")["certificate"]
    assert proof == {"value": 1, "violation": 0, "direction": {"sum": 1}}
    assert read(tmp_path, "impossible")["objective"] is None
    proof = read(tmp_path, "endless")["certificate"]
    assert proof["direction"] == pytest.approx({"x": 1, "y": 1}, abs=1e-3)
    rows = json.loads((tmp_path / "run/report.json").read_text())["predictions"]
    assert [row["program"] for row in rows] == ["endless", "impossible", "kinds"]


GRAPH = ["--model.operator=lit_implicit_lp.operator.LPGraphOperator"]
EXPLICIT = [
    "--model=lit_implicit.ExplicitLightningModule",
    "--model.network=lit_implicit_lp.network.LPGraphNetwork",
]


@pytest.mark.parametrize("model", [GRAPH, EXPLICIT], ids=["graph", "explicit"])
def test_answers_without_duals_prove_nothing(tmp_path, predict, model):
    boxed = IMPOSSIBLE.replace("RHS sum 5", "RHS sum 3")
    code, _ = predict([write(tmp_path, boxed)], *model)
    assert code == 0
    found = read(tmp_path, "a")
    assert found["status"] == "UNDECIDED"
    assert found["primal_residual"] > 0
    assert (found["dual_residual"], found["gap"]) == (None, None)
    assert "duals" not in found
    assert list(found["solution"]) == ["x", "y"]


def test_single_precision_suffices_for_small_programs(tmp_path, predict):
    assert predict([write(tmp_path, ALL_KINDS)], *PDHG)[0] == 0
    assert read(tmp_path, "a")["status"] == "OPTIMAL"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("none.mps", None, "is neither a file nor a folder"),
        ("empty.mps", "", "is empty"),
        ("junk.mps", "hello", "no linear program in MPS format"),
        ("a.lp", ALL_KINDS, "must end in .mps or .mps.gz"),
    ],
)
def test_files_that_cannot_be_read_end_the_run_with_one_line(tmp_path, predict, name, text, reason):
    path = tmp_path / name
    if text is not None:
        write(tmp_path, text, name)
    code, printed = predict([path], *PDHG)
    assert code == 2
    lines = [line for line in printed.err.splitlines() if str(path) in line]
    assert len(lines) == 1
    assert reason in lines[0]


def test_programs_of_one_name_do_not_overwrite_each_other(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, ALL_KINDS, "same.mps")
    write(tmp_path / "b", ALL_KINDS, "same_0.mps")
    given = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "b/../a/same.mps")]
    data = LPDataModule(root=str(tmp_path / "data"), files=given, dtype="float64")
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [batch.files[0].name for batch in batches] == ["same_1", "same_2", "same_0"]
    assert [batch.num_graphs for batch in batches] == [1, 1, 1]
    batch = batches[1]
    assert batch.c.dtype is torch.float64
    assert batch.c.tolist() == batch.files[0].program.c.tolist()
    assert batch.target.isnan().all()
    assert batch.upper.isinf().any()


def test_an_empty_path_is_refused():
    with pytest.raises(ValueError, match=r"`LPDataModule.files` must hold paths, got an empty one"):
        LPDataModule(files=["a.mps", ""])


def test_netlib_files_end_in_their_known_status(tmp_path, predict):
    paths = netlib("afiro", "galenet")
    code, _ = predict(paths, *PDHG, *DOUBLE)
    assert code == 0
    assert read(tmp_path, "galenet")["status"] == "INFEASIBLE"
    found = read(tmp_path, "afiro")
    assert found["status"] == "OPTIMAL"
    assert found["n_iter"] <= 1000  # of two steps each
    assert found["objective"] == pytest.approx(OPTIMAL["afiro"], rel=2e-4)


@pytest.mark.parametrize(("settings", "status"), [([], "UNDECIDED"), (DOUBLE, "OPTIMAL")])
def test_double_precision_reaches_what_single_cannot(tmp_path, predict, settings, status):
    tight = ["--model.operator.tolerance=1e-9", "--model.objective.rtol=1e-9"]
    path = write(tmp_path, IMPOSSIBLE.replace("RHS sum 5", "RHS sum 3.1"))  # 3.1 is no float32
    assert predict([path], *PDHG, *settings, *tight, "--model.solver.max_iter=500")[0] == 0
    assert read(tmp_path, "a")["status"] == status
