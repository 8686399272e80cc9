"""The step of Anderson's method, compiled, and the solver of the same settings that takes it."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache, partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from lit_implicit.compilation.failure import is_version_limit
from lit_implicit.compilation.lowering import lowered, with_own_code
from lit_implicit.compilation.ring_stepper import RingStepper
from lit_implicit.compilation.settings import Compile
from lit_implicit.compilation.step import StepFunction, anderson_step
from lit_implicit.layout import AbstractLayout, Dense, Ragged
from lit_implicit.solvers import AbstractSolver, AbstractStepper, Anderson

Tell = Callable[[str], None]


class CompiledStep:
    """A step, compiled at its first calls; all solves of a process that can share it do.

    What cannot be compiled runs as it is, to the same numbers, and one line says so.

    Args:
        function: The step, of tensors alone.
        settings: How it is compiled.
    """

    def __init__(self, function: StepFunction, settings: Compile) -> None:
        self.function, self.settings = function, settings
        self.n_graphs = 0
        """Graphs compiled so far."""
        self.seconds = 0.0
        """Wall time of the calls that compiled them."""
        self._compiled: dict[bool, StepFunction] = {}  # under inference mode, or not
        self._is_plain = self._has_told = False

    def __call__(self, tell: Tell, *tensors: Tensor | None) -> tuple[Any, ...]:
        if self._is_plain:
            return self.function(*tensors)
        kind = torch.is_inference_mode_enabled()
        compiled = self._compiled.get(kind)
        if compiled is None:
            compiled = self._compiled[kind] = self._compile()
        n_graphs, start = self.n_graphs, perf_counter()
        try:
            found = compiled(*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as err:
            self._is_plain = not is_version_limit(err)
            if not self._has_told:
                self._has_told = True
                reason = str(err).strip().partition("\n")[0]
                tell(f"The step of Anderson runs without compiled code: {reason}")
            return self.function(*tensors)
        if self.n_graphs > n_graphs:
            seconds = perf_counter() - start
            self.seconds += seconds
            tell(
                f"Compiled the step of Anderson in {seconds:.1f} s ({self.n_graphs} graphs so far)."
            )
        return found

    def _compile(self) -> StepFunction:
        def lower(graph: Any, inputs: Any) -> Any:
            self.n_graphs += 1
            # Recorded graphs cannot write to a memory that each solve makes anew.
            return lowered(graph, inputs, self.settings.backend, "default")

        dynamic = None if self.settings.dynamic else False
        compiled: StepFunction = torch.compile(
            with_own_code(self.function), backend=lower, dynamic=dynamic, fullgraph=True
        )
        return compiled


@cache
def _shared(
    function: StepFunction, size: int, layout: type[AbstractLayout], settings: Compile
) -> CompiledStep:
    """Return the one compiled step of all solves that can share it."""
    return CompiledStep(function, settings)


@dataclass(frozen=True)
class _CompiledAnderson(Anderson):
    compile: Compile = field(kw_only=True, repr=False)
    tell: Tell = field(kw_only=True, repr=False)

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        size = self.depth - 1
        if size == 0 or _is_left_alone(layout):
            return super().stepper(layout)
        function = anderson_step(self.mixing, self.ridge)
        step = _shared(function, size, type(layout), self.compile)
        to_host = None if self.compile.step else super().stepper(layout).on_host
        return RingStepper(partial(step, self.tell), self.mixing, size, layout, to_host)


def with_compiled_steps(solver: AbstractSolver, settings: Compile, tell: Tell) -> AbstractSolver:
    """Return a solver of the same settings whose steps without gradients are compiled.

    `Anderson` of type II has such a step; other solvers are returned as they are. Those of `Picard`
    are one operation or none, and less than what compiled code checks at each call.

    Args:
        solver: The solver.
        settings: How steps are compiled.
        tell: Called with a line each time that something was compiled.
    """
    # A subclass may have changed what a step is.
    if not settings.compiles_steps or type(solver) is not Anderson or solver.type == "I":
        return solver
    given = {setting.name: getattr(solver, setting.name) for setting in fields(solver)}
    return _CompiledAnderson(**given, compile=settings, tell=tell)


def _is_left_alone(layout: AbstractLayout) -> bool:
    """Tell whether a solve keeps the solver's own steps: gradients, or a layout not known here."""
    return torch.is_grad_enabled() or type(layout) not in (Dense, Ragged)
