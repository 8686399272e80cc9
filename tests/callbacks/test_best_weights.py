"""The best weights: against the paper's own loop in plain torch, after a resume, on two ranks."""

import math
from pathlib import Path

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_implicit import ExplicitLightningModule
from lit_implicit.callbacks import BestWeights
from lit_implicit.errors import ConfigError

DATA = {"n_samples": 8, "batch_size": 8}  # the whole batch: an epoch is a step
FIRST, SECOND, LR, SECOND_LR = 33, 12, 0.8, 1e-3
PAPER = {"blow_up": 1.5, "lr_factor": 0.5, "min_lr": 0.1, "phases": {FIRST: SECOND_LR}}


class Module(ExplicitLightningModule):
    """A linear network in float64, trained by Adam with far too large steps."""

    def __init__(self, lr=LR):
        super().__init__(AffineNetwork(), AffineObjective())
        self.lr = lr
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 3
        self.double()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Data(AffineData):
    def _data(self, seed):
        loader = super()._data(seed)
        tensors = tuple(t.double() for t in loader.dataset.tensors)
        return torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*tensors), batch_size=self.batch_size
        )


class Watch(Callback):
    """Note the loss of each epoch and the learning rate it leaves."""

    def __init__(self):
        self.losses, self.rates = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))

    def on_train_epoch_start(self, trainer, pl_module):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def papers_loop():
    """The two phases of the paper's script, step by step; return weights, losses and rates."""
    module, losses, rates, n_returns = Module(), [], [], 0
    (x, y) = next(iter(Data(**DATA).train_dataloader()))
    lr, best = LR, None
    for n_epochs, phase_lr in ((FIRST, LR), (SECOND, SECOND_LR)):
        if best is not None:
            module.load_state_dict(best)
        lr, least = phase_lr, math.inf
        optimizer = torch.optim.Adam(module.parameters(), lr=lr)
        for epoch in range(n_epochs):
            rates.append(lr)
            optimizer.zero_grad()
            loss = (module(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if loss.item() < least:
                best = {k: v.clone() for k, v in module.state_dict().items()}
                least = loss.item()
            elif epoch > 0 and loss.item() > PAPER["blow_up"] * least and lr > PAPER["min_lr"]:
                module.load_state_dict(best)
                lr *= PAPER["lr_factor"]
                n_returns += 1
                for group in optimizer.param_groups:
                    group["lr"] = lr
    module.load_state_dict(best)
    return weights(module), losses, rates, n_returns


def fit(tmp_path, callback, *more, module=None, max_epochs=FIRST + SECOND, ckpt=None, **options):
    module = module or Module()
    trainer = Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[callback, *more],
        limit_val_batches=0, **{"enable_checkpointing": False, **options},
    )  # fmt: skip
    trainer.fit(module, Data(**DATA), ckpt_path=ckpt, weights_only=True)
    return module, trainer


def test_two_phases_are_those_of_the_papers_loop(tmp_path):
    expected, losses, rates, n_returns = papers_loop()
    assert n_returns >= 2  # it does blow up
    assert min(losses[:FIRST]) < losses[FIRST - 1]  # and the last weights are not the best
    watch = Watch()
    module, trainer = fit(tmp_path, BestWeights(**PAPER), watch)
    # The same operations in the same order, but for the module's mean over samples and entries.
    torch.testing.assert_close(torch.tensor(watch.losses), torch.tensor(losses), rtol=1e-6, atol=0)
    assert watch.rates == pytest.approx(rates, rel=1e-12)
    torch.testing.assert_close(weights(module), expected, rtol=1e-9, atol=1e-12)
    assert trainer.callback_metrics["train/n_returns"] == n_returns


class Spoil(Callback):
    """Make the gradients of some epochs NaN, and so the weights after them."""

    def __init__(self, *epochs):
        self.epochs = epochs

    def on_after_backward(self, trainer, pl_module):
        if trainer.current_epoch in self.epochs:
            for parameter in pl_module.parameters():
                parameter.grad.fill_(math.nan)


def test_training_goes_on_from_the_best_weights_after_nan(tmp_path):
    """As Adam from its start does: its averages hold the NaN and are thrown away."""
    watch = Watch()
    callback = BestWeights(blow_up=5.0, lr_factor=0.5)
    module, trainer = fit(tmp_path, callback, Spoil(3), watch, module=Module(0.01), max_epochs=9)
    assert trainer.callback_metrics["train/n_returns"] == 1
    # Epoch 3 has the least loss so far and leaves NaN, which is not kept; epoch 4 sees it.
    assert [math.isnan(loss) for loss in watch.losses] == [epoch == 4 for epoch in range(9)]
    by_hand, losses = Module(0.01), []
    (x, y) = next(iter(Data(**DATA).train_dataloader()))
    for lr, n_losses, n_steps in ((0.01, 4, 3), (0.005, 4, 4)):
        optimizer = torch.optim.Adam(by_hand.parameters(), lr=lr)
        for step in range(n_losses):
            optimizer.zero_grad()
            loss = (by_hand(x) - y).square().mean()
            losses.append(loss.item())
            if step < n_steps:
                loss.backward()
                optimizer.step()
    assert watch.losses[:4] + watch.losses[5:] == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(weights(module), weights(by_hand), rtol=1e-9, atol=1e-12)


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    module, _ = fit(tmp_path, BestWeights(), Spoil(3), module=Module(0.01), max_epochs=6)
    short, _ = fit(tmp_path, Callback(), module=Module(0.01), max_epochs=3)
    assert torch.equal(weights(module), weights(short))


def test_last_checkpoint_has_the_best_weights(tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="best", save_on_train_epoch_end=True)
    module, _ = fit(tmp_path, BestWeights(**PAPER), keep, enable_checkpointing=True)
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(saved["network.linear.weight"], module.network.linear.weight.data)
    assert not Path(tmp_path / "best-v1.ckpt").exists()


@pytest.mark.parametrize("cut", [9, FIRST - 1, FIRST, FIRST + 3])
def test_a_resumed_run_goes_on_where_it_was(tmp_path, cut):
    """Cut in the first phase, at its last epoch, at the switch, and in the second phase."""

    class Keep(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch + 1 == cut:
                trainer.save_checkpoint(tmp_path / "cut.ckpt")

    watch, rest = Watch(), Watch()
    whole, _ = fit(tmp_path, BestWeights(**PAPER), Keep(), watch)
    resumed, _ = fit(tmp_path, BestWeights(**PAPER), rest, ckpt=tmp_path / "cut.ckpt")
    assert rest.losses == watch.losses[cut:]
    assert rest.rates == watch.rates[cut:]
    assert torch.equal(weights(resumed), weights(whole))


def test_without_blow_up_it_only_keeps_the_best(tmp_path):
    watch, plain = Watch(), Watch()
    module, _ = fit(tmp_path, BestWeights(), watch, max_epochs=30)
    fit(tmp_path, Callback(), plain, max_epochs=30)
    assert watch.losses == plain.losses  # training itself is left alone
    assert set(watch.rates) == {LR}
    best = int(torch.tensor(watch.losses).argmin())
    short, _ = fit(tmp_path, Callback(), max_epochs=best + 1)
    assert torch.equal(weights(module), weights(short))


def test_interrupted_training_leaves_the_best_weights(tmp_path):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 25

    watch = Watch()
    module, _ = fit(tmp_path, BestWeights(), watch, Stop())
    best = int(torch.tensor(watch.losses).argmin())
    short, _ = fit(tmp_path, Callback(), max_epochs=best + 1)
    assert len(watch.losses) < FIRST
    assert torch.equal(weights(module), weights(short))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blow_up": 1.0}, "`BestWeights.blow_up` must be above 1, got 1.0"),
        ({"blow_up": math.nan}, "`BestWeights.blow_up` must be above 1, got nan"),
        ({"lr_factor": 0.0}, r"`BestWeights.lr_factor` must lie in \(0, 1\], got 0.0"),
        ({"min_lr": -1.0}, "`BestWeights.min_lr` must be at least 0, got -1.0"),
        ({"phases": {0: 1e-3}}, "`BestWeights.phases` must map epochs from 1 on .* got 0: 0.001"),
        ({"phases": {5: 0.0}}, "`BestWeights.phases` must map epochs from 1 on .* got 5: 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        BestWeights(**settings)


def test_value_that_nobody_logs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`BestWeights.monitor` 'train/x' .* Logged: .*train/lo"):
        fit(tmp_path, BestWeights("train/x"))


def test_a_scheduler_beside_it_is_refused(tmp_path):
    class Scheduled(Module):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]

    with pytest.raises(ConfigError, match=r"`BestWeights` sets the learning rate .* Remove one"):
        fit(tmp_path, BestWeights(blow_up=5.0), module=Scheduled())
    fit(tmp_path, BestWeights(), module=Scheduled(), max_epochs=2)  # no second hand: fine
