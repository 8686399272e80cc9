"""Table 1 and Figure 7 from run directories: a run of each network, and folders that are none."""

import csv
import json
import shutil

import pytest
import yaml

from lit_implicit.cli import main as lit_implicit
from lit_implicit_lp.figure7 import read_curves
from lit_implicit_lp.generator import MODES
from lit_implicit_lp.table1 import main
from lit_implicit_lp.table_runs import read_table_run

SMALL = [
    "--data.n_train=8", "--data.n_val=4", "--data.n_test=6", "--data.sizes=[[3,8,12]]",
    "--data.progress=false", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--regularity=null", "--audit=null",
]  # fmt: skip
MODELS = {
    "implicit": ["--model.operator=LPGraphOperator", "--model.operator.width=4",
                 "--lipschitz_curve.n_iter=30",
                 "--test_time_curve.n_iter=25", "--model.solver.max_iter=7"],
    "explicit": ["--model=lit_implicit.ExplicitLightningModule", "--model.network=LPGraphNetwork",
                 "--model.network.width=8", "--model.objective=LPObjective"],
}  # fmt: skip


pytestmark = pytest.mark.slow  # the runs take ten seconds


@pytest.fixture(scope="module")
def runs(tmp_path_factory, lp_root):
    """A run directory of each network, trained for one step."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in MODELS.items():
        where = [f"--data.root={lp_root}", f"--run_dir={folder / name}"]
        assert lit_implicit(["fit", "--task=lp", *options, *SMALL, *where]) == 0
    return folder


def test_table_has_a_row_for_each_run_beside_the_papers(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(runs / "implicit"), str(runs / "explicit"), "--output", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    with (out / "table1.csv").open() as file:
        explicit, implicit = csv.DictReader(file)
    assert (explicit["network"], explicit["width"], explicit["parameters"]) == (
        "explicit",
        "8",
        "2088",
    )
    assert (implicit["network"], implicit["width"], implicit["parameters"]) == (
        "implicit",
        "4",
        "722",
    )
    assert (explicit["paper"], implicit["paper"]) == ("0.273", "0.218")
    for row in (explicit, implicit):
        report = json.loads((runs / row["network"] / "report.json").read_text())
        measured = report["metrics"]["test"]
        assert float(row["test error"]) == measured["error"]
        assert float(row["std over programs"]) == measured["error_std"]
        assert row["seed"] == "0"
        assert row["run"] == str(runs / row["network"])
    markdown = (out / "table1.md").read_text().splitlines()
    assert len(markdown) == 4
    error, spread = float(explicit["test error"]), float(explicit["std over programs"])
    assert f"| 2,088 | 0.273 | {error:.3f} ± {spread:.3f} | 0 |" in markdown[2]
    # The explicit network does not iterate: no figure of it.
    assert sorted(p.name for p in out.iterdir()) == [
        "figure7_width4_implicit.csv", "figure7_width4_implicit.png", "table1.csv", "table1.md",
    ]  # fmt: skip


def test_figure_shows_the_runs_curves_up_to_twenty(runs, tmp_path):
    assert main([str(runs / "implicit"), "--output", str(tmp_path)]) == 0
    with (tmp_path / "figure7_width4_implicit.csv").open() as file:
        *rows, exact = csv.DictReader(file)
    assert [float(row["t"]) for row in rows] == list(range(21))
    assert exact["t"] == "exact"
    for kind in ("lipschitz_curve", "test_time_curve"):
        measured = json.loads((runs / f"implicit/figures/test_{kind}.json").read_text())
        names = [n for n in rows[0] if n in measured["columns"]]
        assert len(names) == {"lipschitz_curve": 6, "test_time_curve": 3}[kind]
        for name in names:
            assert [float(row[name]) for row in rows] == measured["columns"][name][:21]
        if kind == "lipschitz_curve":
            slopes = measured["settings"]["target_slopes"]
            assert {mode: float(exact[f"lipschitz_{mode}"]) for mode in MODES} == slopes
            # The paper's aggregation.
            assert set(measured["settings"]["aggregates"].values()) == {"mean"}


def test_folders_that_are_no_runs_of_the_table_get_one_line(runs, tmp_path, capsys):
    def refused(folder):
        assert main([str(runs / "implicit"), str(folder), "--output", str(tmp_path / "o")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    assert "is no run directory: it has no report.json" in refused(tmp_path)
    assert f"It holds runs: {runs}/*" in refused(runs)
    other = tmp_path / "other"
    shutil.copytree(runs / "implicit", other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["model"]["init_args"]["operator"]["class_path"] = "somewhere.Else"
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    assert "neither LPGraphOperator nor LPGraphNetwork. Name runs of configs/" in refused(other)
    untested = tmp_path / "untested"
    shutil.copytree(runs / "explicit", untested)
    report = json.loads((untested / "report.json").read_text())
    del report["metrics"]["test"]
    (untested / "report.json").write_text(json.dumps(report))
    assert "has no `test/error`: it was not tested" in refused(untested)


def test_run_without_its_curves_gets_one_line(runs, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(runs / "implicit", bare)
    path = bare / "figures" / "test_lipschitz_curve.json"
    content = json.loads(path.read_text())
    del content["columns"]["lipschitz_b"]
    path.write_text(json.dumps(content))
    assert main([str(bare), "--output", str(tmp_path / "o")]) == 2
    assert "lacks lipschitz_b. Measure it again" in capsys.readouterr().err
    path.unlink()
    assert main([str(bare), "--output", str(tmp_path / "o")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Figure 7 needs {str(path)!r}, which cannot be read" in line


def test_short_curves_are_drawn_as_far_as_they_go(runs, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(runs / "implicit", short)
    path = short / "figures" / "test_test_time_curve.json"
    content = json.loads(path.read_text())
    content["columns"] = {name: values[:9] for name, values in content["columns"].items()}
    path.write_text(json.dumps(content))
    columns, _ = read_curves(read_table_run(short))
    assert {len(values) for values in columns.values()} == {9}
