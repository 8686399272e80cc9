"""Every file in configs/ is parsed, and the smoke configs are run."""

import re
from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).parent.parent / "configs"
ALL = sorted(CONFIGS.rglob("*.yaml"))
SMOKE = sorted((CONFIGS / "smoke").glob("*.yaml"))


def names(paths):
    return [str(path.relative_to(CONFIGS)) for path in paths]


@pytest.mark.parametrize("path", ALL, ids=names(ALL))
def test_config_is_parsed_and_says_how_it_is_run(path, capsys, tmp_path, monkeypatch):
    from lit_implicit.cli import main

    text = path.read_text()
    shown = rf"^# lit-implicit (fit|predict) --config configs/{path.relative_to(CONFIGS)}( |$)"
    found = re.search(shown, text, re.MULTILINE)
    assert found, "the head of the config has no command that runs it"
    monkeypatch.chdir(tmp_path)
    assert main([found[1], "--config", str(path), "--print_config"]) == 0
    resolved, given = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(text)
    for key, value in given["trainer"].items():
        if key != "callbacks":
            assert resolved["trainer"][key] == value


SLOW = {"flow", "imaging", "lp"}  # the others show what each run has, in seconds


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem in SLOW else ()) for p in SMOKE],
    ids=names(SMOKE),
)
def test_smoke_config_runs(path, tmp_path, monkeypatch):
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    assert main(["fit", "--config", str(path), *quiet]) == 0
    (folder,) = (tmp_path / "runs" / path.stem).iterdir()
    assert (folder / "figures" / "test_lipschitz_curve.png").is_file()
    pictures = {picture.stem for picture in (folder / "figures").glob("test_*.png")}
    measured = {"test_test_time_curve", "test_lipschitz_curve", "test_regularity", "test_audit"}
    assert measured < pictures  # and more: what the task draws of its answers
    assert (folder / "checkpoints" / "best.ckpt").is_file()
