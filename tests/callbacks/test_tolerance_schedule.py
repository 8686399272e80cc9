import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer

from lit_implicit import (
    AdjointSchedule,
    ExplicitLightningModule,
    Implicit,
    ImplicitLightningModule,
    IterationBudget,
    JacobianFree,
    Picard,
    ToleranceSchedule,
    Unrolled,
)
from lit_implicit.errors import ConfigError


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("geometric", [1e-1, 1e-1 * 10**-0.75, 1e-1 * 10**-1.5, 1e-1 * 10**-2.25, 1e-4, 1e-4]),
        ("linear", [1e-1, 0.075025, 0.05005, 0.025075, 1e-4, 1e-4]),
        ("steps", [1e-1, 1e-1, 1e-1 * 10**-1.5, 1e-1 * 10**-1.5, 1e-4, 1e-4]),
    ],
)
def test_the_tolerance_falls_as_the_shape_says(shape, expected):
    by_step = ToleranceSchedule(1e-1, 1e-4, until_step=4, shape=shape, n_levels=2)
    by_epoch = ToleranceSchedule(1e-1, 1e-4, until_epoch=4, shape=shape, n_levels=2)
    times = (0, 1, 2, 3, 4, 100)
    assert [by_step.rtol(t, 7) for t in times] == pytest.approx(expected, rel=1e-12)
    assert [by_epoch.rtol(7, t) for t in times] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either `until_step` or `until_epoch`"),
        ({"until_step": 3, "until_epoch": 3}, "either `until_step` or `until_epoch`"),
        ({"until_step": 0}, r"until_step` must be at least 1, got 0"),
        ({"until_epoch": 3, "n_levels": 0}, r"n_levels` must be at least 1, got 0"),
        ({"until_step": 3, "start": 0.0}, "start` must be above 0 and finite, got 0.0"),
        ({"until_step": 3, "start": float("nan")}, "start` must be above 0 and finite"),
        ({"until_step": 3, "start": 0.1, "end": 0.2}, r"end` must lie in \(0, 0.1\].*got 0.2"),
        ({"until_step": 3, "end": 0.0}, r"end` must lie in \(0, 0.1\].*got 0.0"),
    ],
)
def test_impossible_schedules_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ToleranceSchedule(**settings)


class Watched(ImplicitLightningModule):
    """Notes which solver each training and each validation batch has."""

    def __init__(self, **settings):
        super().__init__(AffineOperator(gain=0.5), AffineObjective(), **settings)
        self.seen, self.tested = [], []

    def training_answer(self, batch):
        self.seen.append(self.train_equilibrium.solver)
        return super().training_answer(batch)

    def validation_step(self, batch, batch_idx):
        self.tested.append(self.test_equilibrium.solver.rtol)
        return super().validation_step(batch, batch_idx)


SOLVER = Picard(rtol=1e-4, max_iter=60)


def trainer(tmp_path, *callbacks, max_epochs=2):
    return Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=list(callbacks), num_sanity_val_steps=0,
    )  # fmt: skip


def test_training_solves_take_it_and_validation_does_not(tmp_path):
    module, schedule = Watched(solver=SOLVER), ToleranceSchedule(1e-1, until_step=3)
    trainer(tmp_path, schedule).fit(module, AffineData())
    rtols = [solver.rtol for solver in module.seen]
    assert rtols == pytest.approx([1e-1, 1e-2, 1e-3, 1e-4], rel=1e-12)
    assert {solver.max_iter for solver in module.seen} == {60}
    assert set(module.tested) == {1e-4}
    assert module.train_rtol is None
    assert module.train_equilibrium.solver == SOLVER


def test_iterations_and_residuals_follow_it(tmp_path):
    outcomes = []

    class Noted(Watched):
        def training_step(self, batch, batch_idx):
            outputs = super().training_step(batch, batch_idx)
            outcomes.append(outputs["solution"])
            return outputs

    trainer(tmp_path, ToleranceSchedule(1e-1, 1e-6, until_epoch=1)).fit(
        Noted(solver=SOLVER, adjoint=Implicit()), AffineData()
    )
    loose, tight = outcomes[:2], outcomes[2:]
    # z = z / 2 + x from zero: the relative residual after k steps is about 2^-k.
    assert all(int(s.n_iter.max()) <= 5 for s in loose)
    assert all(int(s.n_iter.min()) >= 18 for s in tight)
    assert all(bool((s.relative_residual <= 1e-6).all()) for s in tight)
    # The backward solve has the same tolerance.
    assert all(bool((s.adjoint_relative_residual > 1e-4).all()) for s in loose)
    assert all(bool((s.adjoint_relative_residual <= 1e-6).all()) for s in tight)


def test_a_budget_and_a_warm_up_stand_beside_it(tmp_path):
    module = Watched(solver=SOLVER, adjoint=JacobianFree())
    budget = IterationBudget("ramp", 9, 3, until_step=3)
    warm_up = AdjointSchedule(Unrolled(), until_step=2, warmup_solver=Picard(max_iter=2))
    trainer(tmp_path, ToleranceSchedule(1e-1, until_step=3), budget, warm_up).fit(
        module, AffineData()
    )
    assert module.seen[:2] == [Picard(max_iter=2)] * 2
    assert [solver.max_iter for solver in module.seen[2:]] == [7, 9]
    assert [s.rtol for s in module.seen[2:]] == pytest.approx([1e-3, 1e-4], rel=1e-12)


def test_a_run_that_is_resumed_goes_on_where_it_was(tmp_path):
    def fit(max_epochs, ckpt_path=None):
        module = Watched(solver=SOLVER, adjoint=Implicit())
        run = trainer(tmp_path, ToleranceSchedule(1e-1, until_step=6), max_epochs=max_epochs)
        run.fit(module, AffineData(), ckpt_path=ckpt_path, weights_only=False)
        return module, run

    whole, _ = fit(4)
    first, run = fit(2)
    run.save_checkpoint(tmp_path / "half.ckpt")
    second, _ = fit(4, tmp_path / "half.ckpt")
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.operator.weight, whole.operator.weight)


def test_the_end_is_the_solvers_unless_given(tmp_path):
    schedule = ToleranceSchedule(1e-1, until_step=3)
    with pytest.raises(ConfigError, match="known only once training starts"):
        schedule.rtol(0, 0)
    for solver in (Picard(rtol=0.5), Picard(rtol=0.0)):
        with pytest.raises(ConfigError, match=r"The solver's `rtol` must lie in \(0, 0.1\]"):
            trainer(tmp_path, schedule).fit(Watched(solver=solver), AffineData())


def test_models_without_a_tolerance_are_refused(tmp_path):
    explicit = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    with pytest.raises(ConfigError, match="an explicit model does not iterate"):
        trainer(tmp_path, ToleranceSchedule(until_step=1)).fit(explicit, AffineData())
    with pytest.raises(ConfigError, match="`Unrolled` takes all `max_iter` steps"):
        trainer(tmp_path, ToleranceSchedule(until_step=1)).fit(
            Watched(solver=SOLVER, adjoint=Unrolled()), AffineData()
        )
