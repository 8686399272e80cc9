"""G of an operator, compiled: which calls of a solve take which code."""

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lit_implicit.compilation.compiled_step import with_compiled_steps
from lit_implicit.compilation.failure import (
    compile_error,
    is_version_limit,
    limit_line,
    refuse_graph,
)
from lit_implicit.compilation.lowering import lowered, with_own_code
from lit_implicit.compilation.settings import Compile
from lit_implicit.contract import call
from lit_implicit.layout import AbstractLayout, Dense
from lit_implicit.solvers import AbstractSolver
from lit_implicit.tree import map_tensors

Apply: TypeAlias = Callable[[Tensor, Any], Any]

# The modes that replay CUDA graphs, and what stands in for them where graphs cannot be replayed.
_WITHOUT_REPLAY = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


class CompiledOperator:
    """G of an operator, compiled at its first calls; the operator itself stays as it is.

    So parameters keep their names, and a checkpoint does not know whether G was compiled. Copies
    and pickles compile anew. The first call in training and the first in evaluation are plain, so
    that mistakes in `forward` are told as ever.

    Where gradients are recorded the compiled code has first derivatives only, and a backward pass
    that builds a graph is refused. The backward pass may run often through one call of G, as the
    adjoint's solve does.

    Args:
        operator: The operator.
        settings: How it is compiled.
        tell: Called with a line each time that something was compiled; None logs it.
    """

    def __init__(
        self, operator: nn.Module, settings: Compile, tell: Callable[[str], None] | None = None
    ) -> None:
        self.operator, self.settings = operator, settings
        self.tell = logging.getLogger(__name__).info if tell is None else tell
        self._forget()

    def _forget(self) -> None:
        self.n_graphs = 0
        """Graphs compiled so far."""
        self.seconds = 0.0
        """Wall time of the calls that compiled them."""
        self._functions: dict[tuple[str, bool, bool], Apply] = {}
        self._tried: set[bool] = set()
        self._gave_up = False

    def __getstate__(self) -> dict[str, Any]:
        return {"operator": self.operator, "settings": self.settings, "tell": self.tell}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def of_solve(self, layout: AbstractLayout, *, tracked: bool = True) -> Apply:
        """Return how a solve calls G.

        Args:
            layout: Of the whole batch that is solved for.
            tracked: Whether calls that record gradients are compiled, if the settings say so too.
        """
        tracked = tracked and self.settings.tracked
        settings, whole = self.settings, layout.n if isinstance(layout, Dense) else None
        last: tuple[Any, Any] | None = None  # a context and what is passed on for it

        def prepared(c: Any, mode: str) -> Any:
            nonlocal last
            if last is None or last[0] is not c:
                last = (c, self._prepare(c, mode))
            return last[1]

        def apply(z: Tensor, c: Any) -> Any:
            records = torch.is_grad_enabled()
            if records and not tracked:
                return call(self.operator, "forward", z, c)
            mode: str = settings.mode
            # A graph is recorded for each shape, and its next replay overwrites what the backward
            # pass of this one needs: whole dense batches without gradients only.
            if records or not z.is_cuda or len(z) != whole:
                mode = _WITHOUT_REPLAY.get(mode, mode)
            if not records:
                c = prepared(c, mode)
            if mode in _WITHOUT_REPLAY:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                gz = self._call(mode, z, c)
                # The replay's own memory: the solver's history must not live there.
                return gz.clone() if isinstance(gz, Tensor) else gz
            gz = self._call(mode, z, c)
            if isinstance(gz, Tensor) and gz.requires_grad:
                gz.register_hook(refuse_graph)  # type: ignore[no-untyped-call]
            return gz

        return apply

    def of_steps(self, solver: AbstractSolver) -> AbstractSolver:
        """Return the solver with compiled steps where it has them and the settings say so."""
        return with_compiled_steps(solver, self.settings, self.tell)

    def _call(self, mode: str, z: Tensor, c: Any) -> Any:
        if self.operator.training not in self._tried:
            gz = call(self.operator, "forward", z, c)
            self._tried.add(self.operator.training)
            return gz
        # Dynamo would look at all of these in turn, and gives up after eight versions of each.
        kind = (mode, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        function = self._functions.get(kind)
        if function is None:
            function = self._functions[kind] = self._compile(mode)
        if self._is_dynamic(mode):
            _mark(z)
            if torch.is_grad_enabled():
                map_tensors(_mark, c)
        n_graphs, start = self.n_graphs, perf_counter()
        try:
            gz = function(z, c)
        except torch.OutOfMemoryError:
            raise
        except Exception as err:
            gz = call(self.operator, "forward", z, c)  # a mistake of its own is told here
            name = type(self.operator).__name__
            if not is_version_limit(err):
                raise compile_error(name, err) from None
            if not self._gave_up:
                self._gave_up = True
                self.tell(limit_line(name, self.n_graphs))
            return gz
        if self.n_graphs > n_graphs:
            self._note(perf_counter() - start, z)
        return gz

    def _is_dynamic(self, mode: str) -> bool:
        """Tell whether one graph serves all sizes: not where each size is recorded apart."""
        return self.settings.dynamic and mode not in _WITHOUT_REPLAY

    def _prepare(self, c: Any, mode: str) -> Any:
        """Return the context for calls without gradients.

        A narrowed one has no graph, and the whole one must look the same, else it is compiled for
        apart.
        """
        if any(tensor.requires_grad for tensor in _tensors(c)):
            c = map_tensors(torch.detach, c)
        if self._is_dynamic(mode):
            for tensor in _tensors(c):
                _mark(tensor)
        return c

    def _compile(self, mode: str) -> Apply:
        settings, operator = self.settings, self.operator
        plain = lambda z, c: operator(z, c)  # noqa: E731
        dynamic = None if self._is_dynamic(mode) else False
        backend = self._backend(mode)
        compiled: Apply = torch.compile(
            with_own_code(plain), backend=backend, dynamic=dynamic, fullgraph=settings.fullgraph
        )
        return compiled

    def _backend(self, mode: str) -> Callable[[Any, Any], Any]:
        """Return the backend, with backward passes that may run more than once."""
        from torch._functorch import config

        name = self.settings.backend
        # The backward pass writes over a donated buffer and runs only once. torch looks at this
        # when it compiles and again at each run: it cannot be set for a while.
        config.donated_buffer = False

        def lower(graph: Any, inputs: Any) -> Any:
            self.n_graphs += 1
            # Backward code is generated at once: its time belongs to the warm-up.
            with config.patch(force_non_lazy_backward_lowering=True):
                return lowered(graph, inputs, name, mode)

        return lower

    def _note(self, seconds: float, z: Tensor) -> None:
        self.seconds += seconds
        use = "with" if torch.is_grad_enabled() else "without"
        self.tell(
            f"Compiled G of {type(self.operator).__name__} in {seconds:.1f} s, for calls {use} "
            f"gradients (state {tuple(z.shape)}, {self.n_graphs} graphs so far)."
        )


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def _mark(tensor: Tensor) -> None:
    if tensor.ndim:
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
