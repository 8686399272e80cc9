"""The Lightning modules: one for any implicit model, one for the explicit baselines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.equilibrium import Equilibrium
from lit_implicit.errors import CheckpointError, ConfigError, ObjectiveError, OperatorError
from lit_implicit.layout import AbstractLayout
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import AbstractOperator, FixedPointMap, held_still
from lit_implicit.regularizers import AbstractRegularizer
from lit_implicit.solvers import AbstractSolver, Anderson, Solution
from lit_implicit.tree import map_tensors

Stage: TypeAlias = Literal["train", "val", "test"]
Penalties: TypeAlias = Sequence[tuple[AbstractRegularizer, Tensor]]
TrainStart: TypeAlias = Callable[
    [Any, AbstractLayout, Tensor], tuple[Tensor, Callable[[Solution], None]]
]
"""From a batch, the layout of its state and the operator's own start: another start, and what to
call with the solution."""


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
            n_failed, whole = int(failed.sum()), solution
            if n_failed < n_samples:
                # Once more, without them: a NaN that entered `encode` or `decode` reaches their
                # weights even where the loss leaves it out, as zero times NaN.
                batch = self.objective.select(batch, ~failed)
                y, solution, penalties = self.training_answer(batch)
        if n_failed == n_samples:
            loss, finite = self._nothing(), None
            for key, mean in self._means.items():
                if key.startswith("train_"):  # else it warns, after an epoch of such batches
                    mean.update(0.0, weight=0.0)
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
        losses = self._per_sample("loss", self.objective.loss(y, batch), batch)
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

    def _per_sample(self, name: str, values: Tensor, batch: Any) -> Tensor:
        """Check what the objective returned: a mean over the batch would hide failed samples."""
        n = self.objective.n_samples(batch)
        if values.shape != (n,):
            raise ObjectiveError(
                f"`{type(self.objective).__name__}.{name}` must return a value per sample, shape "
                f"({n},), got {tuple(values.shape)}. Take no mean over the batch."
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
            value = self._per_sample(name, value, batch)
            mean = self._means[f"{stage}_{name}"]
            mean.update(value)
            self.log(f"{stage}/{name}", mean, prog_bar=name == "error",
                     batch_size=self.objective.n_samples(batch))  # fmt: skip
        metrics = self._metrics[f"{stage}_"]
        metrics.update(preds=y, target=self.objective.target(batch), batch=batch)
        self.log_dict(metrics, batch_size=self.objective.n_samples(batch))
        return {"y": y, "solution": solution}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with a learning rate of 1e-3, where the command line names no optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def _start_from(self, init_weights: str | None) -> None:
        if init_weights is None:
            return
        try:
            weights = read_checkpoint(init_weights)["state_dict"]
        except CheckpointError as err:
            raise CheckpointError(f"`model.init_weights`: {err}") from err
        try:
            self.load_state_dict(weights)
        except RuntimeError as err:
            raise CheckpointError(
                f"`model.init_weights` {init_weights!r} does not fit the model: {err}"
            ) from err


class ImplicitLightningModule(AbstractLightningModule):
    """An implicit model: an operator, iterated to its fixed point by a solver.

    Args:
        operator: The operator G with its encoder and readout.
        objective: The task's objective.
        solver: Solver while training; its `max_iter` is the training budget. None means
            `Anderson()`.
        adjoint: How gradients pass the equilibrium; None means `Implicit()`.
        test_solver: Solver in validation, test and prediction; None means `solver`.
        test_max_iter: Most iterations there; None leaves the solver's.
        test_rtol: Relative tolerance there; None leaves the solver's.
        regularizers: Penalties that training adds to the loss, such as `JacobianNorm`. `train/loss`
            stays the objective's own; the penalties are logged beside it as `train/<name>`.
        init_weights: A checkpoint whose weights the model starts from.

    Raises:
        CheckpointError: If `init_weights` cannot be read or does not fit the model.
        ConfigError: If two regularizers have the same name, or a test setting or the adjoint does
            not suit the solver.
    """

    def __init__(
        self,
        operator: AbstractOperator,
        objective: AbstractObjective,
        solver: AbstractSolver | None = None,
        adjoint: AbstractAdjoint | None = None,
        test_solver: AbstractSolver | None = None,
        test_max_iter: int | None = None,
        test_rtol: float | None = None,
        regularizers: Sequence[AbstractRegularizer] = (),
        init_weights: str | None = None,
    ) -> None:
        super().__init__(objective)
        self.operator = operator
        self.solver = Anderson() if solver is None else solver
        self.adjoint = adjoint
        if adjoint is not None:
            try:
                adjoint.check(self.solver)
            except ValueError as err:
                raise ConfigError(f"`model.adjoint` does not suit `model.solver`: {err}") from err
        tested = _changed(
            test_solver or self.solver, "max_iter", test_max_iter, "model.test_max_iter"
        )
        self.test_solver: AbstractSolver = _changed(tested, "rtol", test_rtol, "model.test_rtol")
        self.train_max_iter: int | None = None
        """Budget of the next training step, where it is not the solver's (`IterationBudget`)."""
        self.train_adjoint: AbstractAdjoint | None = None
        """Adjoint of the next training step, where it is not `adjoint` (`AdjointSchedule`)."""
        self.train_solver: AbstractSolver | None = None
        """Solver of the next training step, where it is not `solver` (`AdjointSchedule`); its
        budget is its own, whatever `train_max_iter` says."""
        self.train_start: TrainStart | None = None
        """Where training solves start, if not from the operator's `init_state` (`WarmStart`)."""
        self.regularizers = tuple(regularizers)
        for regularizer in self.regularizers:
            if f"train_{regularizer.name}" in self._means:
                raise ConfigError(
                    f"`model.regularizers` cannot log two values as `train/{regularizer.name}`. "
                    "Leave one of them out, or derive a class with another name."
                )
            self._means[f"train_{regularizer.name}"] = MeanMetric(nan_strategy="disable")
        self._start_from(init_weights)

    @property
    def train_equilibrium(self) -> Equilibrium:
        """The layer as it is trained, at the next step."""
        solver = self.train_solver or self.solver
        if self.train_solver is None and self.train_max_iter is not None:
            solver = _changed(solver, "max_iter", self.train_max_iter, "train_max_iter")
        return Equilibrium(self.operator, solver, self.train_adjoint or self.adjoint)

    @property
    def test_equilibrium(self) -> Equilibrium:
        """The layer as it is validated, tested and used."""
        return Equilibrium(self.operator, self.test_solver, self.adjoint)

    def answer(self, batch: Any, *, training: bool) -> tuple[Any, Solution]:
        """Solve for the fixed points of a batch and read the answers off them."""
        equilibrium = self.train_equilibrium if training else self.test_equilibrium
        answer: tuple[Any, Solution] = equilibrium(self.objective.inputs(batch))
        return answer

    def training_answer(self, batch: Any) -> tuple[Any, Solution, Penalties]:
        """Answer a batch, and let the regularizers look at the map that was solved."""
        equilibrium = self.train_equilibrium
        g, solution = self._training_solve(equilibrium, batch)
        y = equilibrium.decode(g, solution.z)
        if not self.regularizers or solution.failed.any():
            return y, solution, ()  # a failed sample is left out, and the others answered again
        step = self.global_step
        return y, solution, [(r, r.penalty(g, solution, step)) for r in self.regularizers]

    def _training_solve(
        self, equilibrium: Equilibrium, batch: Any
    ) -> tuple[FixedPointMap, Solution]:
        x = self.objective.inputs(batch)
        if self.train_start is None:
            return equilibrium.solve(x)
        g, z0 = equilibrium.bind(x)
        z0, keep = self.train_start(batch, g.layout, z0)
        with held_still(self.operator):
            solution = equilibrium.adjoint.solve(g, z0, equilibrium.solver)
        keep(solution)
        return g, solution

    def forward(self, x: Any) -> Any:
        """Return the answer to an input, by the test solver."""
        return self.test_equilibrium(x)[0]


class ExplicitLightningModule(AbstractLightningModule):
    """An explicit baseline: one pass of a network, trained and measured like an implicit model.

    Args:
        network: Called with the objective's inputs.
        objective: The task's objective.
        init_weights: A checkpoint whose weights the model starts from.

    Raises:
        CheckpointError: If `init_weights` cannot be read or does not fit the model.
    """

    def __init__(
        self, network: nn.Module, objective: AbstractObjective, init_weights: str | None = None
    ) -> None:
        super().__init__(objective)
        self.network = network
        self._start_from(init_weights)

    def answer(self, batch: Any, *, training: bool) -> tuple[Any, None]:
        """Run the network on a batch."""
        return self(self.objective.inputs(batch)), None

    def forward(self, x: Any) -> Any:
        """Return the network's answer to an input."""
        return self.network(x)


def _changed(solver: AbstractSolver, key: str, value: Any, setting: str) -> AbstractSolver:
    """Return the solver with one setting replaced, or refuse it under the user's name for it."""
    if value is None:
        return solver
    try:
        return replace(solver, **{key: value})  # type: ignore[type-var]
    except ValueError as err:
        own = f"`{type(solver).__name__}.{key}`"
        raise ConfigError(str(err).replace(own, f"`{setting}`")) from err


def _all_finite(tree: Any, device: torch.device) -> Tensor:
    """Tell whether all floating-point tensors of an answer are finite, without waiting for it."""
    found = torch.ones((), dtype=torch.bool, device=device)

    def look(tensor: Tensor) -> None:
        nonlocal found
        if tensor.is_floating_point():
            found = found & tensor.detach().isfinite().all().to(device)

    map_tensors(look, tree)
    return found


__all__ = ["AbstractLightningModule", "ExplicitLightningModule", "ImplicitLightningModule"]
