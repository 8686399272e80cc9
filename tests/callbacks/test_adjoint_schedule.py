"""Which adjoint and solver each training step takes, also after a resume and beside a budget."""

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Callback, Trainer

from lit_implicit import (
    AdjointSchedule,
    Anderson,
    ExplicitLightningModule,
    Implicit,
    ImplicitLightningModule,
    IterationBudget,
    JacobianFree,
    Picard,
    Unrolled,
)
from lit_implicit.errors import ConfigError

OWN = (JacobianFree(3, 0.8), Anderson(max_iter=24))
WARMUP = (Unrolled(), Picard(max_iter=12))
DATA = {"n_samples": 12, "batch_size": 4}  # three steps an epoch


class Recording(ImplicitLightningModule):
    """Writes down what each step is trained with, and how often G is called with a gradient."""

    def __init__(self, **options):
        super().__init__(AffineOperator(), AffineObjective(), OWN[1], OWN[0], **options)
        self.seen, self.tracked = {}, []

    def training_answer(self, batch):
        layer = self.train_equilibrium
        self.seen[self.global_step] = layer.adjoint, layer.solver
        n_tracked = 0

        def count(*args):
            nonlocal n_tracked
            n_tracked += torch.is_grad_enabled()

        hook = self.operator.register_forward_hook(count)
        answer = super().training_answer(batch)
        hook.remove()
        self.tracked.append(n_tracked)
        return answer

    def validation_step(self, batch, batch_idx):
        assert (self.test_equilibrium.adjoint, self.test_equilibrium.solver) == OWN
        return super().validation_step(batch, batch_idx)


def trainer(tmp_path, *callbacks, max_epochs=3, **options):
    return Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=list(callbacks),
        **{"enable_checkpointing": False, **options},
    )  # fmt: skip


def fit(tmp_path, *callbacks, module=None, **options):
    module = module or Recording()
    trainer(tmp_path, *callbacks, **options).fit(module, AffineData(**DATA))
    return module


@pytest.mark.parametrize(
    ("until", "n_warmup"), [({"until_step": 4}, 4), ({"until_epoch": 2}, 6), ({"until_step": 1}, 1)]
)
def test_the_first_steps_take_the_warm_up(tmp_path, until, n_warmup):
    module = fit(tmp_path, AdjointSchedule(WARMUP[0], warmup_solver=WARMUP[1], **until))
    assert module.seen == {s: WARMUP if s < n_warmup else OWN for s in range(9)}
    # And they run it: all of 12 steps with gradients, then three at the fixed point.
    assert module.tracked == [12 if s < n_warmup else 3 for s in range(9)]


def test_without_a_solver_of_its_own_the_warm_up_takes_the_modules(tmp_path):
    module = fit(tmp_path, AdjointSchedule(WARMUP[0], until_step=2))
    assert module.seen == {s: (WARMUP[0] if s < 2 else OWN[0], OWN[1]) for s in range(9)}


def test_accumulated_batches_count_as_one_step(tmp_path):
    schedule = AdjointSchedule(WARMUP[0], until_step=2)
    module = fit(tmp_path, schedule, accumulate_grad_batches=3, max_epochs=4)
    assert module.tracked == [24] * 6 + [3] * 6


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("cut", [2, 3, 6])
def test_a_resumed_run_goes_on_where_it_was(tmp_path, cut):
    """Cut within an epoch, at its end during the warm-up, and after the warm-up."""

    class Keep(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == cut:
                trainer.save_checkpoint(tmp_path / "cut.ckpt")

    def schedule():
        return AdjointSchedule(WARMUP[0], until_step=4, warmup_solver=WARMUP[1])

    whole, resumed = fit(tmp_path, schedule(), Keep()), Recording()
    trainer(tmp_path, schedule()).fit(
        resumed, AffineData(**DATA), ckpt_path=tmp_path / "cut.ckpt", weights_only=True
    )
    assert resumed.seen == {s: used for s, used in whole.seen.items() if s >= cut}
    if cut % 3 == 0:  # within an epoch, Lightning takes its batches from the first on again
        assert torch.equal(resumed.operator.weight, whole.operator.weight)


@pytest.mark.parametrize("schedule_first", [True, False])
@pytest.mark.parametrize("warmup_solver", [None, WARMUP[1]])
def test_a_budget_rules_the_modules_solver_only(tmp_path, schedule_first, warmup_solver):
    budget = IterationBudget("uniform", 30, 20)
    callbacks = [AdjointSchedule(WARMUP[0], until_step=4, warmup_solver=warmup_solver), budget]
    module = fit(tmp_path, *(callbacks if schedule_first else callbacks[::-1]))
    drawn = [Anderson(max_iter=budget.draw(s)) for s in range(9)]
    assert len({solver.max_iter for solver in drawn}) > 3
    for s in range(4):
        assert module.seen[s] == (WARMUP[0], warmup_solver or drawn[s])
    for s in range(4, 9):
        assert module.seen[s] == (OWN[0], drawn[s])


class Stop(Callback):
    def on_train_batch_end(self, *args):
        raise ZeroDivisionError


@pytest.mark.parametrize("callbacks", [(), (Stop(),)], ids=["ends", "is_cut_short"])
def test_nothing_is_left_when_training(tmp_path, callbacks):
    module, schedule = Recording(), AdjointSchedule(WARMUP[0], 100, warmup_solver=WARMUP[1])
    try:
        fit(tmp_path, schedule, IterationBudget("fixed", 3), *callbacks, module=module)
    except ZeroDivisionError:
        assert callbacks
    assert module.seen[0] == WARMUP
    layer = module.train_equilibrium
    assert (layer.adjoint, layer.solver) == OWN
    fit(tmp_path, module=module, max_epochs=1)
    assert module.seen[0] == OWN


def test_the_switch_is_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("lit_implicit.callbacks.adjoint_schedule.rank_zero_info", said.append)
    fit(tmp_path, AdjointSchedule(WARMUP[0], until_step=4))
    (line,) = said
    assert line.startswith("AdjointSchedule: from step 4, epoch 1, on, training takes JacobianFree")
    assert "Anderson(depth=5" in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either `until_step` or `until_epoch`, got until_step=None, until_epoch=None"),
        ({"until_step": 3, "until_epoch": 1}, "either .* got until_step=3, until_epoch=1"),
        ({"until_step": 0}, "`AdjointSchedule.until_step` must be at least 1, got 0"),
        ({"until_epoch": -1}, "`AdjointSchedule.until_epoch` must be at least 1, got -1"),
    ],
)
def test_impossible_schedules_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdjointSchedule(Unrolled(), **settings)


def test_an_explicit_model_has_no_adjoint(tmp_path):
    module = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    schedule = AdjointSchedule(Implicit(), until_step=1)
    with pytest.raises(ConfigError, match=r"`AdjointSchedule` needs .* does not iterate"):
        trainer(tmp_path, schedule).fit(module, AffineData())
