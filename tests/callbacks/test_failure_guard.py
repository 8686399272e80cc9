"""When failures are told, and when training ends, in plain Lightning."""

import math
import warnings

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from broken_operators import NaNEverywhere
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_implicit import (
    ExplicitLightningModule,
    ImplicitLightningModule,
    JacobianNorm,
    Picard,
    Unrolled,
)
from lit_implicit.callbacks import FailureGuard
from lit_implicit.callbacks.blame import bad_inputs, bad_parameter
from lit_implicit.errors import ConfigError, SolveError, SolveWarning


def fit(tmp_path, module, *callbacks, n_batches=16, **options):
    """Train, and return the warnings about solves."""
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        default_root_dir=tmp_path, callbacks=list(callbacks), num_sanity_val_steps=0,
        **{"max_epochs": 1, "limit_val_batches": 0, **options},
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SolveWarning)
        trainer.fit(module, AffineData(4 * n_batches))
    return [str(w.message) for w in caught]


class FailsAt(AffineOperator):
    """NaN in the solves of the given training batches, by which Picard(max_iter=1) counts."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.step = steps, -1

    def encode(self, x):
        self.step += 1
        return x

    def forward(self, z, c):
        return super().forward(z, c) * (math.nan if self.step in self.steps else 1.0)


def module_of(operator, **options):
    return ImplicitLightningModule(operator, AffineObjective(), Picard(max_iter=4), **options)


def test_a_sound_batch_begins_the_count_anew(tmp_path):
    module = module_of(FailsAt({*range(4), *range(5, 9)}))
    (told,) = fit(tmp_path, module, FailureGuard(patience=5))
    assert told.startswith("At training step 1 the solve of 4 of 4 samples by `FailsAt` failed")
    with pytest.raises(SolveError, match="stopped at step 10: every sample failed in 5 batches"):
        fit(tmp_path, module_of(FailsAt(range(5, 10))), FailureGuard(patience=5))


def test_where_g_gave_out_is_told_but_not_of_unrolled(tmp_path):
    with pytest.raises(SolveError, match=r"\(4 NONFINITE, the first at iteration 1\)"):
        fit(tmp_path, module_of(NaNEverywhere()), FailureGuard("raise"))
    with pytest.raises(SolveError, match=r"\(4 NONFINITE\)"):
        fit(tmp_path, module_of(NaNEverywhere(), adjoint=Unrolled()), FailureGuard("raise"))


def test_of_a_run_without_failures_nothing_is_said(tmp_path):
    assert not fit(tmp_path, module_of(AffineOperator()), FailureGuard("raise"))
    explicit = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    assert not fit(tmp_path, explicit, FailureGuard("raise"))


def test_what_was_not_finite_is_named_by_its_stage(tmp_path):
    class NaNLoss(AffineObjective):
        def loss(self, y, batch):
            return super().loss(y, batch) * math.nan

    class NaNPenalty(JacobianNorm):
        def penalty(self, g, solution, step):
            return super().penalty(g, solution, step) * math.nan

    bad_loss = ImplicitLightningModule(AffineOperator(), NaNLoss(), Picard())
    with pytest.raises(SolveError, match="the objective's `loss` returned NaN"):
        fit(tmp_path, bad_loss, FailureGuard("raise"))
    with pytest.raises(SolveError, match="a regularizer's `penalty` returned NaN"):
        fit(
            tmp_path,
            module_of(AffineOperator(), regularizers=[NaNPenalty(0.1)]),
            FailureGuard("raise"),
        )


def test_an_answer_may_be_nan_where_the_loss_does_not_look(tmp_path):
    class Masking(AffineObjective):
        def loss(self, y, batch):
            return super().loss(y[:, :3], batch)

    class Padding(AffineOperator):
        def decode(self, z, c):
            return torch.cat([z, torch.full_like(z, math.nan)], dim=1)

    module = ImplicitLightningModule(Padding(), Masking(), Picard())
    assert not fit(tmp_path, module, FailureGuard("raise"))


def test_weights_that_are_not_finite_are_not_written_over_the_last_checkpoint(tmp_path):
    class Poisoned(ImplicitLightningModule):
        def on_train_epoch_end(self):
            """Past all batches of the second epoch: only the checkpoint would see it."""
            if self.current_epoch == 1:
                with torch.no_grad():
                    self.operator.weight[1, 2] = math.inf

    module = Poisoned(AffineOperator(), AffineObjective(), Picard())
    keep = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True, monitor=None)
    keep._enable_version_counter = False  # over the same file, as `last.ckpt` is
    with pytest.raises(SolveError, match=r"Parameter `operator.weight` is not finite"):
        fit(tmp_path, module, FailureGuard(), keep, max_epochs=3)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert kept["state_dict"]["operator.weight"].isfinite().all()


def test_bad_inputs_are_named_as_their_author_knows_them():
    x = torch.randn(2, 3)
    objective = AffineObjective()
    module = ImplicitLightningModule(AffineOperator(), objective)
    objective.inputs = lambda batch: batch
    nan = torch.full_like(x, math.nan)
    batch = {"costs": x, "graph": (torch.arange(3), nan)}
    found = bad_inputs(module, batch)
    assert found == "`x['graph'][1]` holds 6 of 6 numbers that are NaN or infinite"
    assert bad_inputs(module, {"costs": x}) == ""


def test_the_first_bad_parameter_is_named():
    network = AffineNetwork()
    assert bad_parameter(network) == ""
    with torch.no_grad():
        network.linear.bias[0] = math.nan
    assert bad_parameter(network) == "linear.bias"


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"`FailureGuard.patience` must be at least 1, got 0"):
        FailureGuard(patience=0)
