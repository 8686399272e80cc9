"""Keep the weights of least loss; go back to them where training blows up, and between phases."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_implicit.errors import ConfigError


class BestWeights(Callback):
    """Keep the weights of least `monitor`, and end training with them.

    An epoch's loss is that of the weights before its steps; what is kept are those after them. (So
    does the paper's code, where an epoch is one step.) Weights that are not finite are never kept.
    `blow_up` goes back to what is kept where the loss is many times the least one, or NaN: the
    learning rate shrinks, the optimizer's own state stays, unless it is not finite (averages that
    hold a NaN never lose it): then it begins anew. `phases` begin anew: from the best weights so
    far, with a fresh state of the optimizer, another learning rate, and no memory of the least
    loss. All processes decide alike, by the loss over all of them. What is kept is part of
    checkpoints: write them at the end of epochs (`ModelCheckpoint(save_on_train_epoch_end=True)`),
    and a resumed run goes on exactly.

    Memory: one more copy of the weights.

    Args:
        monitor: The value, logged once an epoch, that is to be least.
        blow_up: Multiple of the least value beyond which training goes back; None means never.
        lr_factor: What the learning rate is multiplied by then, in (0, 1].
        min_lr: Learning rate at or below which training does not go back any more.
        phases: First epoch of each further phase, from 1 on, and its learning rate.

    Raises:
        ConfigError: If an argument is out of range; as training starts, if a scheduler sets the
            learning rate, too; after an epoch, if there is no value of that name.

    References:
        arXiv:2510.03638, linear programming: blow-up 5, factor 0.99, down to 1e-3; two phases.
    """

    def __init__(
        self,
        monitor: str = "train/loss",
        blow_up: float | None = None,
        lr_factor: float = 0.99,
        min_lr: float = 0.0,
        phases: Mapping[int, float] | None = None,
    ) -> None:
        self.monitor, self.blow_up = monitor, blow_up
        self.lr_factor, self.min_lr = lr_factor, min_lr
        self.phases = dict(phases or {})
        self._check()
        self._least = math.inf
        self._weights: dict[str, Tensor] = {}
        self._n_returns = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a second hand on the learning rate."""
        if trainer.lr_scheduler_configs and (self.phases or self.blow_up is not None):
            raise ConfigError(
                "`BestWeights` sets the learning rate where it goes back or a phase begins, and so "
                "does `lr_scheduler`. Remove one of them."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a phase, if one begins here."""
        lr = self.phases.get(trainer.current_epoch)
        if lr is None:
            return
        self._go_back(pl_module)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
            _set_lr(optimizer, lambda _: lr)
        rank_zero_info(
            f"BestWeights: epoch {trainer.current_epoch} begins a phase with learning rate {lr:g}, "
            f"from the weights of {self.monitor} {self._least:g}."
        )
        self._least = math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best so far, or go back if training blew up."""
        value = self._value(trainer)
        if value < self._least and _all_finite(pl_module.state_dict().values()):
            self._least, self._weights = value, _copy(pl_module)
        elif self._blew_up(value) and _largest_lr(trainer) > self.min_lr:
            self._go_back(pl_module)
            self._n_returns += 1
            for optimizer in trainer.optimizers:
                if not _all_finite(v for kept in optimizer.state.values() for v in kept.values()):
                    optimizer.state.clear()
                _set_lr(optimizer, lambda lr: lr * self.lr_factor)
        pl_module.log("train/n_returns", float(self._n_returns), sync_dist=False)
        if trainer.current_epoch + 1 == trainer.max_epochs:
            self._go_back(pl_module)  # here, so that the last checkpoint has the best weights

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the best weights in the model, however training ended."""
        self._go_back(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights and their loss."""
        return {"least": self._least, "weights": self._weights, "n_returns": self._n_returns}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best weights from a checkpoint."""
        self._least, self._weights = state_dict["least"], state_dict["weights"]
        self._n_returns = state_dict["n_returns"]

    def _value(self, trainer: Trainer) -> float:
        found = trainer.callback_metrics.get(self.monitor)
        if found is None:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ConfigError(
                f"`BestWeights.monitor` {self.monitor!r} is not logged by the end of a training "
                f"epoch. Logged: {known}."
            )
        return float(found)

    def _blew_up(self, value: float) -> bool:
        # Not by >, which is false of NaN.
        return self.blow_up is not None and not value <= self.blow_up * self._least

    def _go_back(self, module: LightningModule) -> None:
        if self._weights:
            module.load_state_dict(self._weights)

    def _check(self) -> None:
        if self.blow_up is not None and not self.blow_up > 1:
            raise ConfigError(f"`BestWeights.blow_up` must be above 1, got {self.blow_up}.")
        if not 0 < self.lr_factor <= 1:
            raise ConfigError(f"`BestWeights.lr_factor` must lie in (0, 1], got {self.lr_factor}.")
        if not self.min_lr >= 0:
            raise ConfigError(f"`BestWeights.min_lr` must be at least 0, got {self.min_lr}.")
        for epoch, lr in self.phases.items():
            if epoch < 1 or not 0 < lr < math.inf:
                raise ConfigError(
                    "`BestWeights.phases` must map epochs from 1 on to positive learning rates, "
                    f"got {epoch}: {lr}."
                )


def _copy(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _all_finite(values: Iterable[Any]) -> bool:
    """Say whether all tensors among some values are finite; one transfer for each device."""
    finite: dict[torch.device, Tensor] = {}
    for value in values:
        if isinstance(value, Tensor):
            sound = value.isfinite().all()
            finite[value.device] = sound & finite.get(value.device, sound)
    return all(bool(sound) for sound in finite.values())


def _largest_lr(trainer: Trainer) -> float:
    return max(float(group["lr"]) for opt in trainer.optimizers for group in opt.param_groups)


def _set_lr(optimizer: torch.optim.Optimizer, change: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = change(group["lr"])
