"""Which process makes the run directory, and how a restarted one finds it; without processes."""

import re

import pytest

from lit_implicit.cli.run_directory import forget_run_directory, make_run_directory
from lit_implicit.errors import ConfigError

STEP = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2"}


@pytest.fixture
def make(workdir, monkeypatch):
    """Make the run directory in the environment of one process, after which it is forgotten."""
    from lightning.pytorch.utilities import rank_zero_only

    def make(given=None, rank=0, **environment):
        with monkeypatch.context() as patch:
            patch.setattr(rank_zero_only, "rank", rank)
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                return make_run_directory(given, "lp", "fit")
            finally:
                forget_run_directory()

    return make


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("rank", "environment"), [(1, {}), (0, {"NODE_RANK": "1"}), (3, {**STEP, "NODE_RANK": "0"})]
)
@pytest.mark.parametrize("given", [None, "mine"])
def test_other_processes_make_nothing(make, workdir, rank, environment, given):
    assert str(make(given, rank, **environment)) == (given or "runs/lp")
    assert list(workdir.iterdir()) == []


def test_a_requeued_job_finds_its_folder_on_all_ranks(make, workdir):
    first = make(**STEP)
    assert re.fullmatch(r"runs/lp/[-_\d]+_job4711\.2", str(first))
    (first / "config.yaml").touch()
    (first / "metrics.csv").write_text("loss\n1\n")
    for rank in (0, 1):
        assert make(None, rank, **STEP, SLURM_RESTART_COUNT="1") == first
    assert (first / "metrics_1.csv").read_text() == "loss\n1\n"  # Lightning would delete it
    assert not (first / "metrics.csv").exists()
    # Another step of the job, and the same of a job that was not requeued, are other runs.
    assert make(**STEP | {"SLURM_STEP_ID": "3"}, SLURM_RESTART_COUNT="1") != first
    assert make(**STEP) != first
    assert len(list(workdir.glob("runs/lp/*"))) == 3


def test_a_given_folder_with_a_run_is_refused_on_all_ranks_but_after_a_restart(make, workdir):
    (workdir / "used").mkdir()
    (workdir / "used" / "config.yaml").touch()
    with pytest.raises(ConfigError, match="already holds a run"):
        make("used")
    with pytest.raises(SystemExit):  # without a word: rank zero says why
        make("used", 1)
    for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):
        assert [str(make("used", rank, **{name: "1"})) for rank in (0, 1)] == ["used", "used"]


def test_restarts_that_are_none(make, workdir):
    (workdir / "used").mkdir()
    (workdir / "used" / "config.yaml").touch()
    for count in ("0", "", "no"):
        with pytest.raises(ConfigError, match="already holds a run"):
            make("used", SLURM_RESTART_COUNT=count)
