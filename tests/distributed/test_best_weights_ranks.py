"""The best weights on two ranks: those of one process that sees the whole batch."""

import pytest
import torch
from affine_task import AffineNetwork, AffineObjective
from lightning.pytorch import Trainer
from torch.utils.data import TensorDataset
from two_ranks import QUIET, dealt, on_ranks

from lit_implicit import BestWeights, ExplicitLightningModule

PAPER = {"blow_up": 1.5, "lr_factor": 0.5, "min_lr": 0.1, "phases": {33: 1e-3}}


def fit(rank=0, n_ranks=1, **settings):
    module = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    for parameter in module.parameters():
        parameter.data = torch.linspace(-0.3, 0.4, parameter.numel()).reshape(parameter.shape)
    module.double()
    module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.8)
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(8, 3).cos()
    loader = dealt(TensorDataset(x, 2 * x), 8 // n_ranks, rank, n_ranks)
    callbacks = [BestWeights(**PAPER)]
    trainer = Trainer(**QUIET, max_epochs=40, callbacks=callbacks, **settings)
    trainer.fit(module, loader)
    logged = float(trainer.callback_metrics["train/n_returns"])
    return torch.cat([p.detach().flatten() for p in module.parameters()]), logged


def work(rank, n_ranks, folder):
    return fit(rank, n_ranks, strategy="ddp", devices=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_two_processes_keep_what_one_keeps(tmp_path):
    ranks = on_ranks(work, tmp_path)
    expected, n_returns = fit()
    assert n_returns >= 1
    for weights, counted in ranks:
        assert counted == n_returns
        torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-12)
