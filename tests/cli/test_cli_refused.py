"""Values that no solver, adjoint or callback takes: told by the user's own key, before any data."""

import pytest

from lit_implicit.cli import main

PICARD = "--model.solver=Picard"
BUDGET = "--trainer.callbacks+=IterationBudget"
WARM_UP = ["--trainer.callbacks+=AdjointSchedule", "--trainer.callbacks.warmup=Unrolled"]
NORM = "--model.regularizers=[{class_path: JacobianNorm, init_args: {%s}}]"
REFUSED = [
    (["--model.solver.max_iter=0"], "`model.solver.max_iter` must be at least 1, got 0"),
    (["--model.solver.max_iter=-3"], "`model.solver.max_iter` must be at least 1, got -3"),
    (["--model.solver.rtol=-1"], "`model.solver.rtol` must be at least 0, got -1.0"),
    (["--model.solver.rtol=.nan"], "`model.solver.rtol` must be at least 0, got nan"),
    (["--model.solver.rtol=.inf"], "`model.solver.rtol` must be finite, got inf"),
    (["--model.solver.atol=-1"], "`model.solver.atol` must be at least 0, got -1.0"),
    (["--model.solver.depth=0"], "`model.solver.depth` must be at least 1, got 0. Use `Picard`"),
    (["--model.solver.mixing=2"], "`model.solver.mixing` must lie in (0, 1], got 2.0"),
    (["--model.solver.ridge=-1"], "`model.solver.ridge` must be at least 0, got -1.0"),
    (["--model.solver=Broyden", "--model.solver.depth=0"], "`model.solver.depth` must be at least"),
    ([PICARD, "--model.solver.damping=0"], "`model.solver.damping` must lie in (0, 1], got 0.0"),
    ([PICARD, "--model.solver.damping=2"], "`model.solver.damping` must lie in (0, 1], got 2.0"),
    (
        [PICARD, "--model.test_solver=Picard", "--model.test_solver.damping=0"],
        "`model.test_solver.damping` must lie in (0, 1], got 0.0",
    ),
    (["--model.test_max_iter=0"], "`model.test_max_iter` must be at least 1, got 0"),
    (["--model.test_rtol=-1"], "`model.test_rtol` must be at least 0, got -1.0"),
    (
        ["--model.adjoint.solver=GMRES", "--model.adjoint.solver.restart=0"],
        "`model.adjoint.solver.restart` must be at least 1, got 0",
    ),
    (
        ["--model.adjoint.solver=Neumann", "--model.adjoint.solver.terms=0"],
        "`model.adjoint.solver.terms` must be at least 1, got 0",
    ),
    (["--model.adjoint.order=3"], "`model.adjoint.order` must be 1 or 2, got 3"),
    (
        ["--model.adjoint=JacobianFree", "--model.adjoint.steps=0"],
        "`model.adjoint.steps` must be at least 1, got 0",
    ),
    (
        ["--model.adjoint=Unrolled", "--model.adjoint.last=0"],
        "`model.adjoint.last` must be at least 1, got 0",
    ),
    (
        ["--model.adjoint=Unrolled", "--model.adjoint.last=51"],
        "`model.adjoint.last` must be at most the solver's `max_iter`, 50, got 51",
    ),
    (
        ["--model.adjoint=Unrolled", "--model.solver=Broyden"],
        "`model.adjoint` does not suit `model.solver`: `Unrolled` cannot differentiate the steps",
    ),
    ([NORM % "weight: -1"], "`JacobianNorm.weight` must be at least 0 and finite, got -1.0"),
    (
        [NORM % "weight: 1, n_probes: 0"],
        "`JacobianNorm.n_probes` must be at least 1, got 0",
    ),
    ([BUDGET, "--trainer.callbacks.min_iter=0"], "1 <= min_iter <= max_iter, got min_iter=0"),
    ([*WARM_UP, "--trainer.callbacks.until_step=0"], "`AdjointSchedule.until_step` must be at le"),
    (["--failure_guard.patience=0"], "`failure_guard.patience` must be at least 1, got 0"),
    (["--failure_guard.on_failure=stop"], "must be 'warn' or 'raise', got stop"),
    (["--operator_check.rtol=0"], "`operator_check.rtol` must be positive, got 0.0"),
    (["--audit.factor=1"], "`audit.factor` must be at least 2, got 1"),
    (["--audit.n_starts=0"], "`audit.n_starts` must be at least 1, got 0"),
    (["--gallery.every_n_epochs=-1"], "`gallery.every_n_epochs` must be at least 0, got -1"),
    (["--regularity.rtol=0"], "`regularity.rtol` must be positive, got 0.0"),
    (["--test_time_curve.n_iter=-3"], "`test_time_curve.n_iter` must be at least 0, got -3"),
    (["--lipschitz_curve.refine=-1"], "`lipschitz_curve.refine` must be at least 0, got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "part"), REFUSED, ids=[" ".join(f)[-50:] for f, _ in REFUSED])
def test_a_value_out_of_range_is_told_by_its_key(affine, workdir, capsys, monkeypatch, flags, part):
    import affine_task

    monkeypatch.setattr(affine_task.AffineData, "_data", lambda *args: pytest.fail("made data"))
    assert main(["fit", "--task=affine", *flags]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if not line.startswith("Seed set")]
    assert len(lines) == 1, err
    assert part in lines[0]
    assert not list(workdir.glob("runs/*/*"))


def test_tolerances_of_zero_are_allowed(run):
    """They switch the test off: a solve takes all of its iterations."""
    assert run("fit", "--model.solver.rtol=0", "--model.solver.max_iter=3") == 0
