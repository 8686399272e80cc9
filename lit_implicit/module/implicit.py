"""The module of any implicit model: an operator, iterated to its fixed point."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MeanMetric

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.compilation import Compile, CompiledOperator, CompileMode
from lit_implicit.equilibrium import Equilibrium
from lit_implicit.errors import ConfigError
from lit_implicit.layout import AbstractLayout
from lit_implicit.module.base import AbstractLightningModule, Penalties
from lit_implicit.module.initial_weights import load_initial_weights
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import AbstractOperator, FixedPointMap
from lit_implicit.regularizers import AbstractRegularizer
from lit_implicit.solvers import AbstractSolver, Anderson, Solution

TrainStart: TypeAlias = Callable[
    [Any, AbstractLayout, Tensor], tuple[Tensor, Callable[[Solution], None]]
]
"""From a batch, the layout of its state and the operator's own start: another start, and what to
call with the solution."""


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
        init_parts: Which parts of the model begin as which parts of that checkpoint, such as
            `{operator.denoiser: network.denoiser}`, with `*` for any one name; None means all of
            both.
        compile: Whether solves call G compiled by `torch.compile`: true, a mode of it such as
            `reduce-overhead`, or settings `{mode, backend, dynamic, fullgraph, tracked}`. Training,
            validation and tests take it; penalties and measurements call G as it is. Checkpoints
            are the same.

    Raises:
        CheckpointError: If `init_weights` cannot be read or does not fit the model.
        ConfigError: If two regularizers have the same name, one does not suit the adjoint, a test
            setting or the adjoint does not suit the solver, the model has no such part as
            `init_parts` names, or a setting of `compile` is not known; in a solve, if G cannot be
            compiled.
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
        init_parts: dict[str, str] | None = None,
        compile: bool | CompileMode | Compile | None = None,
    ) -> None:
        super().__init__(objective)
        self.operator = operator
        settings = Compile.of(compile)
        self.compiled: CompiledOperator | None = None
        """How solves call G, where it is compiled; may be set to None at any time."""
        if settings is not None:
            self.compiled = CompiledOperator(operator, settings, tell=rank_zero_info)
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
        self.train_rtol: float | None = None
        """Relative tolerance of the next training step, where it is not the solver's
        (`ToleranceSchedule`)."""
        self.train_adjoint: AbstractAdjoint | None = None
        """Adjoint of the next training step, where it is not `adjoint` (`AdjointSchedule`)."""
        self.train_solver: AbstractSolver | None = None
        """Solver of the next training step, where it is not `solver` (`AdjointSchedule`); its
        budget and tolerance are its own, whatever `train_max_iter` and `train_rtol` say."""
        self.train_start: TrainStart | None = None
        """Where training solves start, if not from the operator's `init_state` (`WarmStart`)."""
        self.regularizers = tuple(regularizers)
        for regularizer in self.regularizers:
            if adjoint is not None:
                try:
                    regularizer.check(adjoint)
                except ValueError as err:
                    raise ConfigError(f"`model.regularizers`: {err}") from err
            if f"train_{regularizer.name}" in self._means:
                raise ConfigError(
                    f"`model.regularizers` cannot log two values as `train/{regularizer.name}`. "
                    "Leave one of them out, or derive a class with another name."
                )
            self._means[f"train_{regularizer.name}"] = MeanMetric(nan_strategy="disable")
        load_initial_weights(self, init_weights, init_parts)

    @property
    def train_equilibrium(self) -> Equilibrium:
        """The layer as it is trained, at the next step."""
        solver = self.train_solver
        if solver is None:
            solver = _changed(self.solver, "max_iter", self.train_max_iter, "train_max_iter")
            solver = _changed(solver, "rtol", self.train_rtol, "train_rtol")
        adjoint = self.train_adjoint or self.adjoint
        return Equilibrium(self.operator, solver, adjoint, self.compiled)

    @property
    def test_equilibrium(self) -> Equilibrium:
        """The layer as it is validated, tested and used."""
        return Equilibrium(self.operator, self.test_solver, self.adjoint, self.compiled)

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
        g, z0 = equilibrium.bind(self.objective.inputs(batch))
        if self.train_start is None:
            return g, equilibrium.solve_bound(g, z0)
        z0, keep = self.train_start(batch, g.layout, z0)
        solution = equilibrium.solve_bound(g, z0)
        keep(solution)
        return g, solution

    def predict_step(self, batch: Any, batch_idx: int) -> tuple[Any, Solution | None]:
        """Return the answer to a batch, rolled out where the task does so, and how it was found."""
        rolled_out = self.objective.rollout(self.test_equilibrium, batch)
        if rolled_out is not None:
            return rolled_out, None
        return super().predict_step(batch, batch_idx)

    def forward(self, x: Any) -> Any:
        """Return the answer to an input, by the test solver."""
        return self.test_equilibrium(x)[0]


def _changed(solver: AbstractSolver, key: str, value: Any, setting: str) -> AbstractSolver:
    """Return the solver with one setting replaced, or refuse it under the user's name for it."""
    if value is None:
        return solver
    try:
        return replace(solver, **{key: value})  # type: ignore[type-var]
    except ValueError as err:
        own = f"`{type(solver).__name__}.{key}`"
        raise ConfigError(str(err).replace(own, f"`{setting}`")) from err
