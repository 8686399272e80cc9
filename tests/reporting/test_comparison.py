"""`lit-implicit report`: what it reads off run directories, prints and writes."""

import csv
import json

import pytest
import yaml

from lit_implicit.cli import main
from lit_implicit.errors import DataError
from lit_implicit.reporting.comparison import over_seeds, read_run
from lit_implicit.reporting.config_differences import differences


def solver(name, **init_args):
    return {"class_path": f"lit_implicit.{name}", "init_args": {"rtol": 1e-4, **init_args}}


@pytest.fixture
def make_run(tmp_path):
    """Write a run directory by hand, so that all its numbers are known."""

    def make(name, error, seed=0, status="completed", picture=False, **settings):
        folder = tmp_path / name
        (folder / "figures").mkdir(parents=True)
        report = {
            "status": status, "seed": seed, "n_parameters": 8390,
            "seconds": {"fit": 2.0, "test": 1.5}, "date": "2026-11-21T10:00:00",
            "commit": "0123456789abcdef", "changed_since_commit": True,
            "metrics": {"val": {"error": error + 1}, "test": {"error": error, "converged": 1.0}},
            "findings": {"test": ["audit: an equilibrium"]},
        }  # fmt: skip
        (folder / "report.json").write_text(json.dumps(report))
        config = {"seed_everything": seed, "model": {"solver": solver("Picard")}, **settings}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if picture:
            from matplotlib.figure import Figure

            Figure(figsize=(2, 1)).savefig(folder / "figures" / "test_curve.png")
        return folder

    return make


def test_unfinished_run_is_left_out(tmp_path, capsys):
    from lit_implicit.cli import main

    run = tmp_path / "killed"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "checkpoints" / "last.ckpt").touch()
    assert main(["report", str(run)]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    last = run / "checkpoints" / "last.ckpt"
    assert warning.endswith(f"is unfinished, and left out. Resume it from {last}.")
    assert "None of these runs has ended" in error


def test_a_run_is_read_as_a_row(make_run):
    row = read_run(make_run("a", 0.25)).row()
    assert row["parameters"] == 8390
    assert row["seconds"] == 3.5
    assert row["commit"] == "01234567+"  # changed since
    assert (row["test/error"], row["val/error"]) == (0.25, 1.25)


def test_settings_that_differ_are_found_at_any_depth(make_run):
    runs = [
        read_run(make_run("a", 0.1, trainer={"max_epochs": 3})),
        read_run(make_run("b", 0.1, seed=1, trainer={"max_epochs": 3, "precision": None})),
        read_run(make_run("c", 0.1, trainer={"max_epochs": 4})),
    ]
    assert differences([run.config for run in runs]) == {
        "seed_everything": ["0", "1", "0"],
        "trainer.max_epochs": ["3", "3", "4"],
        "trainer.precision": ["(not set)", "null", "(not set)"],
    }


def test_another_class_is_one_difference_not_one_per_argument(make_run):
    runs = [
        read_run(make_run("a", 0.1)),
        read_run(make_run("b", 0.1, model={"solver": solver("Anderson", depth=5, rtol=0.1)})),
    ]
    found = differences([run.config for run in runs])
    assert found == {"model.solver.class_path": ["lit_implicit.Picard", "lit_implicit.Anderson"]}


def test_spread_is_over_runs_that_differ_in_their_seed_alone(make_run):
    runs = [read_run(make_run(f"s{seed}", error, seed)) for seed, error in enumerate((0.1, 0.4))]
    runs += [
        read_run(make_run("other", 9.0, seed=2, trainer={"max_epochs": 4})),
        read_run(make_run("broken", 9.0, seed=3, status="failed")),
    ]
    (row,) = over_seeds(runs)
    assert row["test/error"] == pytest.approx(0.25)
    assert (row["test/error min"], row["test/error max"]) == (0.1, 0.4)


@pytest.mark.parametrize("errors", [(0.1, float("nan")), (float("nan"), 0.1)])
def test_nan_of_one_seed_is_not_averaged_away(make_run, errors):
    (row,) = over_seeds([read_run(make_run(f"r{n}", e, seed=n)) for n, e in enumerate(errors)])
    for name in ("test/error", "test/error min", "test/error max"):
        assert row[name] != row[name]


def test_two_evaluations_of_one_seed_are_no_spread(make_run):
    assert over_seeds([read_run(make_run(name, 0.1)) for name in ("fit", "test")]) == []


def test_the_command_prints_and_writes_one_table(make_run, tmp_path, capsys):
    folders = [make_run("a", 0.1, picture=True), make_run("b", 0.5, seed=1)]
    out = tmp_path / "out"
    assert main(["report", *map(str, folders), "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"2: {folders[1]}\n" in printed  # whole, at any width of the screen
    assert "0.3 (0.1 to 0.5)" in printed
    assert "1, test: audit: an equilibrium" in printed
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert [float(row["test/error"]) for row in rows] == [0.1, 0.5]
    text = (out / "comparison.md").read_text()
    assert "| seed_everything | 0 | 1 |" in text
    from matplotlib.image import imread

    assert imread(out / "comparison.png").shape[1] == 1200  # two columns of six inches


def test_a_run_that_failed_is_named_so(make_run, capsys):
    folders = [make_run("a", 0.1), make_run("b", 0.5, status="failed")]
    assert main(["report", *map(str, folders)]) == 0
    printed = capsys.readouterr().out
    assert f"1: {folders[0]}\n2: {folders[1]} (failed)\n" in printed
    assert "…" not in printed.split("setting")[0]  # the table of results fits a screen


def test_numbers_that_json_does_not_know_come_back(make_run):
    folder = make_run("a", 0.1)
    report = json.loads((folder / "report.json").read_text())
    report["metrics"]["test"]["error"] = "nan"
    (folder / "report.json").write_text(json.dumps(report))
    assert read_run(folder).metrics["test/error"] != read_run(folder).metrics["test/error"]


def test_what_is_no_run_directory_is_said(make_run, tmp_path, capsys):
    make_run("a", 0.1)
    with pytest.raises(DataError, match=r"It holds runs: .*as 'a'"):
        read_run(tmp_path)
    broken = make_run("b", 0.1)
    (broken / "report.json").write_text("{")
    assert main(["report", str(broken)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    for args, message in (
        (["report"], "needs run directories"),
        (["report", "--md", "x"], "has no option '--md'"),
        (["report", str(tmp_path / "a"), "--output", str(broken / "report.json")], "cannot be"),
    ):
        assert main(args) == 2
        assert message in capsys.readouterr().err
