"""The LP model in double precision on data in single, as `--trainer.precision 64-true` has it."""

import pytest


@pytest.mark.slow
def test_double_precision_trains_and_tests(tmp_path, monkeypatch):
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    args = ["fit", "--task=lp", "--trainer.precision=64-true", "--trainer.accelerator=cpu",
            "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
            "--trainer.log_every_n_steps=1", "--data.n_train=4", "--data.n_val=2",
            "--data.n_test=2", "--data.progress=false", "--model.operator.width=4",
            "--test_time_curve=null", "--lipschitz_curve.n_iter=2", "--gallery=null"]  # fmt: skip
    assert main(args) == 0
