"""Asked to stop: behind an optimizer step, and training goes on as if nothing had happened."""

import os
import signal

import pytest
import torch
from affine_task import AffineData
from torch.utils.data import TensorDataset

from lit_implicit.cli import main

N_BATCHES = 6
WHOLE = {}


@pytest.fixture
def trained(run, monkeypatch):
    """Train for two epochs of six batches, and ask to stop at the start of the n-th of all."""
    from lit_implicit.data import EpochDataLoader
    from lit_implicit.module import ImplicitLightningModule

    def train_dataloader(self):
        x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
        return EpochDataLoader(TensorDataset(x, 2 * x), 2, seed=1, trainer=self.trainer)

    monkeypatch.setattr(AffineData, "train_dataloader", train_dataloader)
    step = ImplicitLightningModule.training_step

    def whole(*flags):
        """Train without a stop; once for the tests of this module."""
        if flags not in WHOLE:
            WHOLE[flags] = trained("whole", *flags)[1]
        return WHOLE[flags]

    def trained(folder, *flags, at=None, how=signal.SIGTERM):
        count = 0

        def training_step(self, batch, batch_idx):
            nonlocal count
            if count == at:
                os.kill(os.getpid(), how)
            count += 1
            return step(self, batch, batch_idx)

        monkeypatch.setattr(ImplicitLightningModule, "training_step", training_step)
        code = run("fit", "--trainer.max_epochs=2", f"--run_dir={folder}", *flags)
        return code, torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)

    trained.whole = whole
    return trained


@pytest.mark.parametrize(
    ("how", "at", "stops_at", "flags"),
    [
        (signal.SIGTERM, 7, 8, []),  # in the middle of the second epoch
        (signal.SIGINT, 7, 8, []),
        (signal.SIGTERM, 5, 6, []),  # in the last step of the first, which is validated before
        (signal.SIGINT, 11, 12, []),  # in the very last step: all is trained
        (signal.SIGTERM, 8, 5, ["--trainer.accumulate_grad_batches=2"]),  # its second half counts
        (signal.SIGTERM, 5, 6, ["--trainer.check_val_every_n_epoch=2"]),  # no validation writes
    ],
)
def test_stop_and_go_on(trained, capsys, how, at, stops_at, flags):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    code, last = trained("stopped", *flags, at=at, how=how)
    assert code == {signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    assert last["global_step"] == stops_at
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    advice = capsys.readouterr().err.splitlines()[-1]
    whole = trained.whole(*flags)
    assert main([*advice.split()[3:], "--run_dir=resumed"]) == 0
    resumed = torch.load("resumed/checkpoints/last.ckpt", weights_only=True) if at != 11 else last
    weight = whole["state_dict"]["operator.weight"]
    assert torch.equal(resumed["state_dict"]["operator.weight"], weight)
    assert resumed["global_step"] == whole["global_step"]


def test_second_interrupt_stops_at_once(trained, monkeypatch, capsys):
    from lit_implicit.module import ImplicitLightningModule

    def press_twice(self, batch, batch_idx):
        if self.global_step == N_BATCHES + 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ImplicitLightningModule, "on_train_batch_start", press_twice)
    code, last = trained("stopped")
    assert code == 130
    assert last["global_step"] == N_BATCHES  # that of the epoch
    assert "Ctrl-C again stops at once" in capsys.readouterr().err
