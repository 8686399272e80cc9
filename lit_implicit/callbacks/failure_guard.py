"""What becomes of training where solves fail: a warning, and an end where nothing is learned."""

import warnings
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_implicit.callbacks.blame import bad_inputs, bad_parameter, blame
from lit_implicit.errors import ConfigError, SolveError, SolveWarning
from lit_implicit.solvers import Status

# On a GPU, or with several processes, to ask costs a wait; so it is done at every tenth batch.
_CHECK_EVERY = 10
_STAGES = ("the operator's `decode`", "the objective's `loss`", "a regularizer's `penalty`")


class FailureGuard(Callback):
    """Say when solves fail while training, and stop where all of them do.

    A sample whose solve diverges or is not finite gives no loss and no gradient. The first is told
    by a warning, as is the first loss that is not finite though the solves are sound. Training
    ends with a `SolveError` where every sample of every process has failed in `patience` batches
    one after the other, and where a parameter is not finite any more; no checkpoint is written with
    such weights. All processes decide alike; with several, or on a GPU, at every tenth batch, as to
    ask costs a wait.

    Args:
        on_failure: `warn` once and go on, or `raise` a `SolveError` at the first failure.
        patience: Batches in a row without one sound sample after which training ends; None means
            never.

    Raises:
        ConfigError: If `patience` is below 1.
    """

    def __init__(
        self, on_failure: Literal["warn", "raise"] = "warn", patience: int | None = 10
    ) -> None:
        if on_failure not in ("warn", "raise"):
            raise ConfigError(
                f"`FailureGuard.on_failure` must be 'warn' or 'raise', got {on_failure!r}."
            )
        if patience is not None and patience < 1:
            raise ConfigError(
                f"`FailureGuard.patience` must be at least 1, got {patience}. None switches it off."
            )
        self.on_failure, self.patience = on_failure, patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._failed = self._diverged = self._seen = 0  # since the last check, of this process
        self._barren = 0  # batches in a row without a sound sample, of this process
        self._unsound: Tensor | None = None  # answers, losses, penalties that were not finite
        self._iteration: int | None = None  # at which the first sample failed
        self._inputs: str | None = None  # what is wrong with them, if any failed in this process
        self._warned_failed = self._warned_loss = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the failures of a batch, and judge them where it costs no wait."""
        if not isinstance(outputs, dict) or "finite" not in outputs:
            return  # a training step of the user's own
        self._count(outputs, pl_module, batch)
        one = trainer.world_size == 1 and pl_module.device.type == "cpu"
        if one or (batch_idx + 1) % _CHECK_EVERY == 0 or trainer.is_last_batch:
            self._judge(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to write weights that are of no use: the last checkpoint stays what it was."""
        # Each process asks itself: on a signal, the first one writes without the others.
        if (trainer.training or trainer.validating) and (name := bad_parameter(pl_module)):
            raise SolveError(_bad_weights(f"Parameter `{name}`", trainer.global_step, ""))

    def _count(self, outputs: dict[str, Any], module: LightningModule, batch: Any) -> None:
        whole, solution, finite = (outputs.get(key) for key in ("whole", "solution", "finite"))
        if solution is not None:
            self._seen += len((solution if whole is None else whole).status)
        if finite is not None:
            # An answer may well be NaN where the loss does not look.
            unsound = ~finite & ~finite[1:].all()
            self._unsound = unsound if self._unsound is None else self._unsound | unsound
        self._barren = 0 if finite is not None else self._barren + 1
        if whole is None:
            return
        # That samples failed, the training step has asked the device already.
        self._failed += int(whole.failed.sum())
        self._diverged += int((whole.status == Status.DIVERGED).sum())
        if not self._warned_failed or self._is_barren():
            self._iteration = int(whole.n_iter[whole.failed].min())
            self._inputs = bad_inputs(module, batch)

    def _is_barren(self) -> bool:
        return self.patience is not None and self._barren >= self.patience

    def _judge(self, trainer: Trainer, module: LightningModule) -> None:
        """Decide by sums over all processes since the last check: so all of them agree."""
        unsound = torch.zeros(3) if self._unsound is None else self._unsound.float()
        counts = torch.tensor(
            [self._failed, self._diverged, self._seen, self._is_barren()], dtype=torch.float
        )
        sums = torch.cat([counts.to(module.device), unsound.to(module.device)])
        failed, diverged, seen, n_barren, *bad = _sum(trainer, sums)
        self._failed = self._diverged = self._seen = 0
        self._unsound = None
        step = trainer.global_step
        if any(bad):
            stage = next(name for name, found in zip(_STAGES, bad, strict=True) if found)
            text = (
                f"At training step {step} {stage} returned NaN or infinity, though the solves are "
                "sound. Keep logarithms, roots and quotients in it away from their poles; look at "
                "the targets."
            )
            self._refuse_bad_parameters(trainer, module, f" {text}")
            self._tell(trainer, text, warned=self._warned_loss)
            self._warned_loss = True
        if not failed:
            return
        self._refuse_bad_parameters(trainer, module, "")
        how = blame(module, int(failed), int(diverged), int(seen), self._inputs, self._iteration)
        if n_barren == trainer.world_size:
            raise SolveError(
                f"Training stopped at step {step}: every sample failed in {self.patience} batches "
                f"in a row, so there is nothing to learn from: {how}"
            )
        self._tell(trainer, f"At training step {step} {how}", warned=self._warned_failed)
        self._warned_failed = True

    def _tell(self, trainer: Trainer, text: str, *, warned: bool) -> None:
        if self.on_failure == "raise":
            raise SolveError(text)
        if not warned and trainer.is_global_zero:
            text = f"{text} Training goes on; this is not said again (see `train/n_failed`)."
            warnings.warn(text, SolveWarning, stacklevel=2)

    def _refuse_bad_parameters(
        self, trainer: Trainer, module: LightningModule, because: str
    ) -> None:
        """Stop where a parameter is not finite; every process must come here, or none."""
        name = bad_parameter(module)
        if _sum(trainer, torch.ones(1, device=module.device) * bool(name))[0]:
            which = f"Parameter `{name}`" if name else "A parameter of another process"
            raise SolveError(_bad_weights(which, trainer.global_step, because))


def _bad_weights(which: str, step: int, because: str) -> str:
    return (
        f"{which} is not finite after training step {step}.{because} No checkpoint was written "
        "with it: begin again from the weights of the last one, `--model.init_weights`, with a "
        "smaller learning rate, `trainer.gradient_clip_val`, or the regularizer `JacobianNorm`."
    )


def _sum(trainer: Trainer, values: Tensor) -> list[float]:
    if trainer.world_size > 1:
        values = trainer.strategy.reduce(values, reduce_op="sum")
    numbers: list[float] = values.tolist()
    return numbers
