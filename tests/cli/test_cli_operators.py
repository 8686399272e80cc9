"""Operators that break, in a run: one line and exit code 2, or their own traceback with a note."""

import csv
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

from lit_implicit.errors import SolveWarning

CONTRACT = [
    ("GrowsShape", ["`GrowsShape.forward`", "expected (4, 3), got (4, 6)"]),
    ("ChangesDtype", ["`ChangesDtype.forward`", "expected torch.float32, got torch.float64"]),
    ("ReturnsNone", ["`ReturnsNone.forward`", "(4, 3)", "got None", "`return` missing?"]),
    ("ReturnsTuple", ["`ReturnsTuple.forward`", "got a tuple", "into one tensor"]),
    ("StartsWithNone", ["`StartsWithNone.init_state`", "got None", "zeros_like"]),
    ("StartsWithIntegers", ["`StartsWithIntegers.init_state`", "torch.int64 of shape (4, 3)"]),
    ("StartsInDouble", ["`StartsInDouble.forward`", "torch.float64", "are torch.float32"]),
    ("StartsElsewhere", ["`StartsElsewhere.init_state`", "of the input, cpu, got meta"]),
    ("StartsWithOneRow", ["`StartsWithOneRow.init_state`", "expected 4 rows", "got shape (1, 3)"]),
    ("DropsSamples", ["`DropsSamples`", "the 4 samples", "holds 3, shape (3, 3)"]),
    ("LaysOutTooMany", ["`LaysOutTooMany.layout`", "expected 5 rows", "shape (4, 3)"]),
    ("LaysOutNothing", ["`LaysOutNothing.layout`", "`Dense` or a `Ragged`, got a int"]),
    ("IndexesOutOfRange", ["`IndexesOutOfRange.layout`", "0 to 2", "from 0 to 3"]),
    ("StopsForAll", ["`StopsForAll.stop`", "shape (4,)", "torch.bool of shape ()"]),
    ("DecodesMean", ["`DecodesMean.decode`", "the 4 samples", "shape (1, 3)"]),
    ("DecodesNone", ["`DecodesNone.decode`", "got None"]),
    ("Exhausted", ["`Exhausted.forward`", "raised this StopIteration. Catch it"]),
    ("Exits", ["`Exits.forward`", "raised this SystemExit. Catch it"]),
    ("FunctionalDropout", ["`FunctionalDropout.forward` is no function", "once in `encode`"]),
    ("Noisy", ["`Noisy.forward` is no function"]),
    ("Counting", ["`Counting.forward` is no function", "no counter or cache"]),
    ("Caching", ["`Caching.forward` is no function"]),
]
NO_SANITY = "--trainer.num_sanity_val_steps=0"
PICARD = ["--model.solver=Picard", "--data.n_samples=64"]


@pytest.fixture
def told():
    """The warnings about solves, as they come."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SolveWarning)
        yield caught


def error_of(capsys):
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in out + err
    return lines[0]


@pytest.mark.parametrize(("name", "parts"), CONTRACT, ids=[name for name, _ in CONTRACT])
def test_a_broken_contract_is_one_line(run, capsys, name, parts):
    assert run("fit", f"--model.operator=broken_operators.{name}", NO_SANITY) == 2
    line = error_of(capsys)
    for part in parts:
        assert part in line


def test_the_check_of_the_operator_can_be_switched_off(run):
    noisy = "--model.operator=broken_operators.Noisy"
    assert run("fit", noisy, "--operator_check=null", "--test_after_fit=false") == 0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--model.operator=broken_operators.NaNEverywhere"], ["4 NONFINITE", "G made it"]),
        (["--model.operator=broken_operators.Expanding"], ["4 DIVERGED", "spectral_norm"]),
        (["--data=broken_operators.NaNData"], ["`x` holds 4 of 12 numbers", "out of the data"]),
    ],
    ids=["nan", "diverged", "data"],
)
def test_training_that_cannot_learn_is_ended(run, capsys, told, flags, parts):
    assert run("fit", *PICARD, *flags, NO_SANITY, "--failure_guard.patience=5") == 2
    (warning,) = told
    assert "At training step 1 the solve of 4 of 4 samples" in str(warning.message)
    line = error_of(capsys)
    for part in ["stopped at step 5: every sample failed in 5 batches in a row", *parts]:
        assert part in line


def test_patience_null_goes_on(run, run_directory, told):
    flags = ["--model.operator=broken_operators.NaNEverywhere", "--failure_guard.patience=null"]
    assert run("fit", *PICARD, *flags, "--test_after_fit=false") == 0
    assert len(told) == 1
    with (run_directory() / "metrics.csv").open(encoding="utf-8") as file:
        counts = [row["train/n_failed"] for row in csv.DictReader(file) if row["train/n_failed"]]
    assert counts == ["64.0"]


def test_on_failure_raise_ends_at_the_first_failure(run, capsys):
    flags = ["--model.operator=broken_operators.NaNForSome", "--failure_guard.on_failure=raise"]
    assert run("fit", *PICARD, *flags, NO_SANITY) == 2
    assert "At training step 2 the solve of 2 of 4 samples by `NaNForSome`" in error_of(capsys)


def test_a_loss_that_is_nan_names_its_stage(run, told):
    flags = ["--model.operator=broken_operators.DecodesNaN", NO_SANITY, "--test_after_fit=false"]
    # The adjoint solves nothing for a gradient of NaN, so that the weights stay as they are.
    assert run("fit", *PICARD, *flags) == 0
    (warning,) = told
    assert "step 1 the operator's `decode` returned NaN" in str(warning.message)


def test_weights_that_are_nan_end_training_and_are_not_written(run, run_directory, capsys):
    flags = ["--model.operator=broken_operators.DecodesNaNByWeight", NO_SANITY]
    assert run("fit", *PICARD, *flags) == 2
    line = error_of(capsys)
    for part in ("Parameter `operator.weight` is not finite", "step 1", "operator's `decode`"):
        assert part in line
    assert not list(run_directory().rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("name", "error"),
    [("DividesByZero", ZeroDivisionError), ("MultipliesWrongShapes", RuntimeError)],
)
def test_a_bug_in_g_keeps_its_traceback_and_gets_a_closing_line(run, name, error):
    with pytest.raises(error) as caught:
        run("fit", f"--model.operator=broken_operators.{name}", NO_SANITY)
    (where, resume) = caught.value.__notes__
    last = traceback.extract_tb(caught.tb)[-1]
    assert f"`{name}.forward` ({last.filename}:{last.lineno})" in where
    assert "z of shape (4, 3), torch.float32" in where
    assert "checkpoint" in resume


@pytest.mark.slow
def test_two_processes_end_together(affine, workdir):
    tests = str(Path(__file__).parents[1])
    flags = [
        "--task=affine", "--model.solver=Picard", "--model.operator=broken_operators.Expanding",
        "--data.n_samples=48", "--data.batch_size=1", "--trainer.accelerator=cpu",
        "--trainer.max_epochs=1", "--trainer.devices=2", "--trainer.strategy=ddp",
        "--trainer.enable_progress_bar=false", "--lipschitz_curve=null", NO_SANITY,
    ]  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("lit-implicit"), "fit", *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(affine), tests])},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "stopped at step 10: every sample failed in 10 batches in a row" in done.stderr
    assert "20 of 20 samples" in done.stderr  # of both processes
    assert "Traceback" not in done.stderr
