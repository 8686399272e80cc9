"""Whether G is a function is asked once, and leaves no trace."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from broken_operators import Counting, FunctionalDropout
from lightning.pytorch import Trainer
from torch import nn

from lit_implicit import ImplicitLightningModule, Picard
from lit_implicit.callbacks import OperatorCheck
from lit_implicit.errors import ConfigError, OperatorError


def fit(tmp_path, operator, *callbacks, **options):
    torch.manual_seed(0)
    module = ImplicitLightningModule(operator, AffineObjective(), Picard(max_iter=3, rtol=0.0))
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path, callbacks=list(callbacks),
        num_sanity_val_steps=0, limit_val_batches=0, max_epochs=2, **options,
    )  # fmt: skip
    trainer.fit(module, AffineData())
    return module


class Encoding(AffineOperator):
    """Draws and keeps statistics where it may: in `encode`; and counts the calls of G."""

    def __init__(self):
        super().__init__()
        self.n_calls, self.norm = 0, nn.BatchNorm1d(3)

    def encode(self, x):
        return self.norm(nn.functional.dropout(x, 0.5, self.training))

    def forward(self, z, c):
        self.n_calls += 1
        return super().forward(z, c)


def test_it_costs_three_calls_and_changes_neither_draws_nor_statistics(tmp_path):
    checked = fit(tmp_path, Encoding(), OperatorCheck())
    plain = fit(tmp_path, Encoding())
    assert checked.operator.n_calls == plain.operator.n_calls + 3
    for name, value in plain.state_dict().items():
        assert torch.equal(checked.state_dict()[name], value), name


def test_a_map_that_is_no_function_is_refused(tmp_path):
    with pytest.raises(OperatorError, match=r"FunctionalDropout.forward` is no function"):
        fit(tmp_path, FunctionalDropout(), OperatorCheck())
    with pytest.raises(OperatorError, match=r"Counting.forward` is no function"):
        fit(tmp_path, Counting(), OperatorCheck())


class Rounding(AffineOperator):
    """Each call is off by 1e-6, as sums in no fixed order are."""

    def forward(self, z, c):
        return super().forward(z, c) * (1 + 1e-6 * torch.rand(()))


def test_rounding_is_excused(tmp_path):
    fit(tmp_path, Rounding(), OperatorCheck())
    with pytest.raises(OperatorError, match=r"up to 1.0e-09 is rounding"):
        fit(tmp_path, Rounding(), OperatorCheck(1e-9))


def test_half_precision_has_its_own_rounding(tmp_path):
    class Coarse(AffineOperator):
        def forward(self, z, c):
            return super().forward(z, c) * (1 + 1e-2 * torch.rand(()))

    fit(tmp_path, Coarse(), OperatorCheck(), precision="bf16-mixed")
    with pytest.raises(OperatorError):
        fit(tmp_path, Coarse(), OperatorCheck())


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"`OperatorCheck.rtol` must be positive, got 0.0"):
        OperatorCheck(0.0)
