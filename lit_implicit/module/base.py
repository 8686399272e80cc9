"""What all models share: training and evaluation on an objective."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from lit_implicit.errors import ObjectiveError, OperatorError
from lit_implicit.objective import AbstractObjective
from lit_implicit.regularizers import AbstractRegularizer
from lit_implicit.solvers import Solution
from lit_implicit.tree import map_tensors

Stage: TypeAlias = Literal["train", "val", "test"]
Penalties: TypeAlias = Sequence[tuple[AbstractRegularizer, Tensor]]


class AbstractLightningModule(LightningModule, ABC):
    """Training and evaluation of any model on an objective; subclasses say how it answers.

    Logged: `train/loss`, `train/n_failed`, and for `val` and `test` the means of `loss` and `error`
    over samples and the objective's own metrics. The optimizer is the command line's, or Adam with
    a learning rate of 1e-3.

    Args:
        objective: The task's objective.
    """

    def __init__(self, objective: AbstractObjective) -> None:
        super().__init__()
        self.objective = objective
        # Metrics are made once: their sums live on the device and are reduced over the ranks.
        self._means: MutableMapping[str, MeanMetric] = nn.ModuleDict(  # type: ignore[assignment]
            {
                # A sample without a finite error must show, not vanish from the mean.
                name: MeanMetric(nan_strategy="disable")
                for name in ("train_loss", "val_loss", "val_error", "test_loss", "test_error")
            }
        )
        self._metrics: Mapping[str, MetricCollection] = nn.ModuleDict(  # type: ignore[assignment]
            {
                f"{stage}_": objective.metrics().clone(prefix=f"{stage}/")
                for stage in ("val", "test")
            }
        )

    def on_fit_start(self) -> None:
        """Give the metrics ordinary tensors again: a `validate` before left those of inference."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()

    @abstractmethod
    def answer(self, batch: Any, *, training: bool) -> tuple[Any, Solution | None]:
        """Return the answer to a batch and, for an implicit model, how it was found."""

    def training_answer(self, batch: Any) -> tuple[Any, Solution | None, Penalties]:
        """Return what `answer` does and the penalties of the samples, unless one has failed."""
        return *self.answer(batch, training=True), ()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Return the mean loss over the samples whose solve did not fail, and their solution.

        Also, where samples failed, the `whole` solution with theirs; and `finite`, three booleans:
        of the answer, of the loss and of the penalties.
        """
        y, solution, penalties = self.training_answer(batch)
        n_samples = self._count(solution, batch)
        n_failed, whole = 0, None
        if solution is not None and (failed := solution.failed).any():
            # Detached: else it keeps the first graph while the second one is made.
            n_failed, whole = int(failed.sum()), replace(solution, z=solution.z.detach())
            if n_failed < n_samples:
                # Once more, without them: a NaN that entered `encode` or `decode` reaches their
                # weights even where the loss leaves it out, as zero times NaN.
                batch = self.objective.select(batch, ~failed)
                y, solution, penalties = self.training_answer(batch)
        if n_failed == n_samples:
            loss, finite = self._nothing(), None
            for key, mean in self._means.items():
                if key.startswith("train_"):  # no value, else it warns after an epoch of such
                    mean.update(torch.zeros(0, device=self.device))
        else:
            loss, finite = self._mean_loss(y, batch, penalties)
        self.log("train/n_failed", float(n_failed), on_epoch=True, on_step=False,
                 reduce_fx="sum", batch_size=n_samples, sync_dist=True)  # fmt: skip
        # Each rank logs the same names, whatever its samples did: else the others would wait.
        for key, mean in self._means.items():
            stage, _, name = key.partition("_")
            if stage == "train":
                self.log(f"train/{name}", mean, on_epoch=True, on_step=False,
                         prog_bar=name == "loss", batch_size=n_samples)  # fmt: skip
        return {"loss": loss, "solution": solution, "whole": whole, "finite": finite}

    def _mean_loss(self, y: Any, batch: Any, penalties: Penalties) -> tuple[Tensor, Tensor]:
        losses = self._per_sample("loss", self.objective.loss(y, batch), y, batch)
        self._means["train_loss"].update(losses.detach())
        loss = losses.mean()
        for regularizer, values in penalties:
            self._means[f"train_{regularizer.name}"].update(values.detach())
            loss = loss + regularizer.weight * values.mean()
        parts = (y, losses, [values for _, values in penalties])
        return loss, torch.stack([_all_finite(part, loss.device) for part in parts])

    def _count(self, solution: Solution | None, batch: Any) -> int:
        """Return the number of samples, refusing a solve of another number."""
        n = self.objective.n_samples(batch)
        if solution is not None and len(solution.status) != n:
            name = type(getattr(self, "operator", self)).__name__
            raise OperatorError(
                f"`{name}` must solve for the {n} samples of the batch, but its state holds "
                f"{len(solution.status)}, shape {tuple(solution.z.shape)}. Let `{name}.init_state` "
                f"and `{name}.layout` give each sample of the input its own rows."
            )
        return n

    def _per_sample(self, name: str, values: Tensor, y: Any, batch: Any) -> Tensor:
        """Check what the objective returned: a mean over the batch would hide failed samples."""
        n = self.objective.n_samples(batch)
        if values.shape != (n,):
            raise ObjectiveError(
                f"`{type(self.objective).__name__}.{name}` must return a value per sample, shape "
                f"({n},), got {tuple(values.shape)}. Take no mean over the batch{_of_shape(y)}."
            )
        return values

    def _nothing(self) -> Tensor:
        """Return a loss of zero in which every parameter takes part.

        Else the other ranks would wait for its gradient.
        """
        zero = torch.zeros((), device=self.device, requires_grad=True)
        trained = (p for p in self.parameters() if p.requires_grad)
        return zero + sum((p.nan_to_num(0.0, 0.0, 0.0) * 0).sum() for p in trained)

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Measure a validation batch."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Measure a test batch."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> tuple[Any, Solution | None]:
        """Return the answer to a batch and how it was found."""
        return self.answer(batch, training=False)

    def _evaluate(self, batch: Any, stage: Stage) -> dict[str, Any]:
        y, solution = self.answer(batch, training=False)
        self._count(solution, batch)
        values = {"loss": self.objective.loss(y, batch), "error": self.objective.error(y, batch)}
        for name, value in values.items():
            value = self._per_sample(name, value, y, batch)
            mean = self._means[f"{stage}_{name}"]
            mean.update(value)
            self.log(f"{stage}/{name}", mean, prog_bar=name == "error",
                     batch_size=self.objective.n_samples(batch))  # fmt: skip
        metrics = self._metrics[f"{stage}_"]
        # Metrics subtract what is nearly equal: never in the low precision of autocast.
        with torch.autocast(self.device.type, enabled=False):
            target = self.objective.target(batch)
            metrics.update(preds=map_tensors(_accurate, y), target=target, batch=batch)
        self.log_dict(metrics, batch_size=self.objective.n_samples(batch))
        return {"y": y, "solution": solution}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with a learning rate of 1e-3, where the command line names no optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def _accurate(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _of_shape(y: Any) -> str:
    if not isinstance(y, Tensor):
        return ""
    return f", and see whether the answer, of shape {tuple(y.shape)}, has the shape of the target"


def _all_finite(tree: Any, device: torch.device) -> Tensor:
    """Tell whether all floating-point tensors of an answer are finite, without waiting for it."""
    found = torch.ones((), dtype=torch.bool, device=device)

    def look(tensor: Tensor) -> None:
        nonlocal found
        if tensor.is_floating_point():
            found = found & tensor.detach().isfinite().all().to(device)

    map_tensors(look, tree)
    return found
