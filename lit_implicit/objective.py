"""What a task says about its problem: its loss, its error, its perturbations and its pictures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from lit_implicit.files import replace_whole
from lit_implicit.layout import AbstractLayout, Dense, select_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_implicit.equilibrium import Equilibrium
    from lit_implicit.solvers import Solution


@dataclass(frozen=True)
class RolloutScore:
    """A measure of answers that are rolled out, as `AbstractObjective.rollout` makes them.

    Args:
        measure: A function of the rolled out answer and the batch, with a value per sample, shape
            `(n,)`; NaN where a sample has none.
        geometric: Values are ratios, not negative: their geometric mean is shown, too.
    """

    measure: Callable[[Any, Any], Tensor]
    geometric: bool = False


@dataclass(frozen=True)
class Mode:
    """A way to perturb the input, along which the Lipschitz constant of x -> y_t is estimated.

    Args:
        aggregate: How the ratios of the samples become one number: their largest, or their mean.
    """

    aggregate: Literal["max", "mean"] = "max"


@dataclass(frozen=True, eq=False)
class Perturbed:
    """A batch whose inputs were perturbed, with its own targets.

    Args:
        batch: The perturbed batch, of the same samples in the same order.
        size: 2-norm of each sample's perturbation of its input, shape `(n,)`.
        valid: Samples whose perturbed problem has a solution, shape `(n,)`, boolean.
    """

    batch: Any
    size: Tensor
    valid: Tensor


class AbstractObjective(nn.Module, ABC):
    """The problem that a task poses: from a batch to inputs, loss, error and perturbations.

    Everything about the model is the operator's; everything about the problem is here. All
    per-sample results have shape `(n,)`.
    """

    @abstractmethod
    def inputs(self, batch: Any) -> Any:
        """Return what the network may see: the input x."""

    @abstractmethod
    def n_samples(self, batch: Any) -> int:
        """Return the number of samples in the batch."""

    @abstractmethod
    def target(self, batch: Any) -> Tensor:
        """Return the ground truth."""

    @abstractmethod
    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return the training loss of each sample, shape `(n,)`."""

    @abstractmethod
    def error(self, y: Any, batch: Any) -> Tensor:
        """Return the task error of each sample, shape `(n,)`: what curves show."""

    @abstractmethod
    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return the distance of two answers to the batch's inputs, shape `(n,)`."""

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the batch of the samples in `keep` (shape `(n,)`, boolean) alone.

        Used where some samples of a training batch failed. Default: for batches that are tensors
        with the sample as first axis, in any nesting of tuples, lists, dicts and dataclasses.

        Raises:
            TypeError: If the batch holds anything else: the task must define `select`.
        """
        return select_samples(batch, keep)

    def keys(self, batch: Any) -> Tensor | None:
        """Return who each sample of a training batch is, shape `(n,)`, int64; None if unknown.

        A number from 0 on that is the sample's own in every epoch and every run on the same data,
        as its index in the training set; `select` must keep it with its sample. `WarmStart` finds
        a sample's last state by it. Default: None.
        """
        return None

    def metrics(self) -> MetricCollection:
        """Return further metrics of the task, updated by `preds`, `target` and `batch`.

        Each metric receives, by name, those of the three that its `update` accepts. Default: none.
        """
        return MetricCollection({})

    @property
    def scores(self) -> Mapping[str, Callable[[Any, Any], Tensor]]:
        """Further measures of an answer that test-time curves show, by name. Default: none.

        Each is a function of the answer and the batch, with a value per sample, shape `(n,)`: what
        people of the field read beside the error, such as decibels, or the residual of an equation.
        """
        return {}

    @property
    def modes(self) -> Mapping[str, Mode]:
        """The ways in which `perturb` can perturb an input, by name. Default: none."""
        return {}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Perturb the inputs of a batch and give it its own targets.

        Raises:
            KeyError: If the mode is not one of `modes`.
        """
        raise KeyError(f"{type(self).__name__} has no mode {mode!r}; known: {list(self.modes)}.")

    def shell(
        self, batch: Any, distance: float, generator: torch.Generator | None = None
    ) -> Any | None:
        """Return a batch of inputs at a given distance from where the target is singular.

        It says whether an operator is as steep as its target there (the regularity report). The
        number of samples need not be that of the batch; `perturb` must accept the result.

        Args:
            batch: A batch of the task, for what its inputs are like.
            distance: Distance to the singular set, in the task's units of x.
            generator: Source of randomness for inputs that are drawn.

        Returns:
            The batch; None where the task knows of no singular set (the default), or of no input
            at this distance.
        """
        return None

    def leaves(self, x: Any) -> tuple[Tensor, ...]:
        """Return the tensors of an input in which derivatives are taken.

        Floating point, and only what `perturb` may change: the numbers of a problem, not its mask
        or graph. Default: `x` itself is the one leaf.

        Args:
            x: An input, as `inputs` returns it.

        Raises:
            TypeError: If `x` is no tensor: the task must define `leaves` and `with_leaves`.
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"`{type(self).__name__}.leaves` is not defined, and the input, of type "
                f"{type(x).__name__}, is no tensor to take derivatives in. Define `leaves` and "
                "`with_leaves` in the objective."
            )
        return (x,)

    def with_leaves(self, x: Any, leaves: Sequence[Tensor]) -> Any:
        """Return the input with other leaves, of the shapes and in the order of `leaves(x)`.

        The given input must not change. Default: the one leaf.

        Raises:
            ValueError: If there is not exactly one leaf.
        """
        if len(leaves) != 1:
            raise ValueError(
                f"`{type(self).__name__}.with_leaves` expected 1 leaf, got {len(leaves)}. Define "
                "it in the objective, beside `leaves`."
            )
        return leaves[0]

    def leaf_layouts(self, x: Any) -> tuple[AbstractLayout, ...]:
        """Say how the samples lie in each leaf, so that a direction has a size for each sample.

        Default: `Dense`, one row a sample; for leaves of graphs of different sizes, `Ragged`.

        Args:
            x: An input, as `inputs` returns it.
        """
        return tuple(Dense(len(leaf)) for leaf in self.leaves(x))

    def figures(self, y: Any, batch: Any) -> Mapping[str, "Figure"]:
        """Draw the answers to a batch, by name of the picture. Default: none."""
        return {}

    @property
    def times(self) -> Sequence[int]:
        """The t at which `figures_over_iterations` shows y_t, where the config names none."""
        return (1, 5, 20)

    def figures_over_iterations(
        self, iterates: Mapping[int, Any], y: Any, batch: Any
    ) -> Mapping[str, "Figure"]:
        """Draw how the answers to a batch come about, by name of the picture. Default: none.

        Args:
            iterates: The answers y_t by plain Picard iteration, by t, ascending.
            y: The answer of the test solver.
            batch: The batch.
        """
        return {}

    def rollout(self, equilibrium: "Equilibrium", batch: Any, n_iter: int | None = None) -> Any:
        """Answer a batch by more than one solve, as text is generated token by token.

        Where it is defined, `predict` writes what it returns, and `RolloutCurveMonitor` measures it
        by `rollout_scores`. The default is None: one `decode` is the answer.

        Args:
            equilibrium: The model, in evaluation mode, without gradients.
            batch: A batch of the task.
            n_iter: Number of plain iterations in each solve; None means the budget and the
                tolerance of the equilibrium's solver.
        """
        return None

    @property
    def rollout_scores(self) -> Mapping[str, RolloutScore]:
        """The measures of an answer that `rollout` returns, by name. Default: none."""
        return {}

    def rollout_rows(self, answers: Mapping[int, Any], batch: Any) -> Sequence[Mapping[str, Any]]:
        """Show how a few rolled out answers change with the iterations, as rows of a table.

        Args:
            answers: What `rollout` returned, by number of iterations, ascending.
            batch: The batch.

        Returns:
            Names of columns and their values, the same names in each row. Default: none.
        """
        return ()

    def write(self, y: Any, solution: "Solution | None", batch: Any, folder: Path) -> None:
        """Write the answers to a batch into `folder`, for `predict`. Default: `predictions.pt`.

        Successive batches must not overwrite each other.
        """
        number = len(list(folder.glob("predictions_*.pt")))
        with replace_whole(folder / f"predictions_{number:05d}.pt") as file:
            torch.save(y, file)

    def summary(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Return the rows of the table that ends `predict`. Default: none, and no table.

        Args:
            folder: What `write` was given; of several processes, the folder that holds theirs.

        Returns:
            Names of columns and their values, the same names in each row.
        """
        return ()
