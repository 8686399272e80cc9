"""`torch.compile` for G: which calls take the compiled code, and what is said where it fails."""

import logging
import types
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from lit_implicit.contract import call
from lit_implicit.errors import ConfigError
from lit_implicit.layout import AbstractLayout, Dense
from lit_implicit.tree import map_tensors

CompileMode: TypeAlias = Literal[
    "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
]
Apply: TypeAlias = Callable[[Tensor, Any], Any]

# The modes that replay CUDA graphs, and what stands in for them where graphs cannot be replayed.
_WITHOUT_REPLAY = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


@dataclass(frozen=True)
class Compile:
    """How `torch.compile` treats G.

    Args:
        mode: As of `torch.compile`. `reduce-overhead` and `max-autotune` replay CUDA graphs where
            the batch is dense and whole and no gradient is recorded; elsewhere, and on a CPU, they
            are `default` and `max-autotune-no-cudagraphs`.
        backend: Name of a backend of `torch.compile`. `eager` and `aot_eager` generate no code:
            they show which stage fails.
        dynamic: Whether one graph serves all batch sizes, in the first axis of the state and of
            each tensor of the context. False compiles for each size anew, eight times at most.
        fullgraph: Whether G must be one graph. False lets Python run between the pieces.
        tracked: Whether the calls that record gradients are compiled too. There are few of them,
            and theirs is most of the warm-up; without, derivatives of any order are those of the
            plain operator.

    Raises:
        ConfigError: If the mode or the backend is not known, or a mode is asked of another backend
            than `inductor`.
    """

    mode: CompileMode = "default"
    backend: str = "inductor"
    dynamic: bool = True
    fullgraph: bool = True
    tracked: bool = True

    def __post_init__(self) -> None:
        modes = get_args(CompileMode)
        if self.mode not in modes:
            raise ConfigError(
                f"`Compile.mode` must be one of {', '.join(modes)}, got {self.mode!r}."
            )
        if self.backend == "inductor":
            return
        if self.mode != "default":
            raise ConfigError(
                f"`Compile.mode` {self.mode!r} is one of the backend 'inductor', got backend="
                f"{self.backend!r}. Leave the mode out."
            )
        known = torch.compiler.list_backends(exclude_tags=())
        if self.backend not in known:
            raise ConfigError(
                f"`Compile.backend` must be one of {', '.join(known)}, got {self.backend!r}."
            )

    @classmethod
    def of(cls, setting: "bool | CompileMode | Compile | None") -> "Compile | None":
        """Return the settings that a switch stands for: a mode, or true for the default one."""
        if setting is None or setting is False:
            return None
        if isinstance(setting, cls):
            return setting
        return cls() if setting is True else cls(setting)  # type: ignore[arg-type]


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

        def prepared(c: Any) -> Any:
            nonlocal last
            if last is None or last[0] is not c:
                last = (c, self._prepare(c))
            return last[1]

        def apply(z: Tensor, c: Any) -> Any:
            records = torch.is_grad_enabled()
            if records and not tracked:
                return call(self.operator, "forward", z, c)
            c, mode = c if records else prepared(c), str(settings.mode)
            # A graph is recorded for each shape, and its next replay overwrites what the backward
            # pass of this one needs: whole dense batches without gradients only.
            if records or not z.is_cuda or len(z) != whole:
                mode = _WITHOUT_REPLAY.get(mode, mode)
            if mode in _WITHOUT_REPLAY:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                gz = self._call(mode, z, c)
                # The replay's own memory: the solver's history must not live there.
                return gz.clone() if isinstance(gz, Tensor) else gz
            gz = self._call(mode, z, c)
            if isinstance(gz, Tensor) and gz.requires_grad:
                gz.register_hook(_refuse_graph)  # type: ignore[no-untyped-call]
            return gz

        return apply

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
        if self.settings.dynamic and mode not in _WITHOUT_REPLAY:
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
            self._failed(err)
            return gz
        if self.n_graphs > n_graphs:
            self._note(perf_counter() - start, z)
        return gz

    def _prepare(self, c: Any) -> Any:
        """Return the context for calls without gradients.

        A narrowed one has no graph, and the whole one must look the same, else it is compiled for
        apart.
        """
        if any(tensor.requires_grad for tensor in _tensors(c)):
            c = map_tensors(torch.detach, c)
        if self.settings.dynamic:
            for tensor in _tensors(c):
                _mark(tensor)
        return c

    def _compile(self, mode: str) -> Apply:
        settings, operator = self.settings, self.operator
        plain = lambda z, c: operator(z, c)  # noqa: E731
        # Dynamo keeps what it compiled with the code object, which functions share: a new one.
        own = types.FunctionType(
            plain.__code__.replace(), plain.__globals__, "forward", None, plain.__closure__
        )
        dynamic = None if settings.dynamic else False
        backend = self._backend(mode)
        compiled: Apply = torch.compile(
            own, backend=backend, dynamic=dynamic, fullgraph=settings.fullgraph
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
                if name != "inductor":
                    return torch._dynamo.lookup_backend(name)(graph, inputs)
                from torch._inductor import list_mode_options
                from torch._inductor.compile_fx import compile_fx

                return compile_fx(graph, inputs, config_patches=list_mode_options(mode))

        return lower

    def _note(self, seconds: float, z: Tensor) -> None:
        self.seconds += seconds
        use = "with" if torch.is_grad_enabled() else "without"
        self.tell(
            f"Compiled G of {type(self.operator).__name__} in {seconds:.1f} s, for calls {use} "
            f"gradients (state {tuple(z.shape)}, {self.n_graphs} graphs so far)."
        )

    def _failed(self, err: Exception) -> None:
        """Tell why there is no compiled code, where the operator itself works.

        Raises:
            ConfigError: Unless code was compiled, and this one call asks for one version too many.
        """
        name = type(self.operator).__name__
        if "Limit" not in type(err).__name__:
            raise ConfigError(f"`compile` failed on `{name}.forward`: {_reason(err)}") from None
        if not self._gave_up:
            self._gave_up = True
            self.tell(
                f"G of {name} was compiled {self.n_graphs} times; other calls run without. "
                "Counters and shapes that change with each call ask for a version each: keep them "
                "out of `forward` (TORCH_LOGS=recompiles names them)."
            )


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def _mark(tensor: Tensor) -> None:
    if tensor.ndim:
        torch._dynamo.maybe_mark_dynamic(tensor, 0)


def _refuse_graph(gradient: Tensor) -> None:
    """Refuse second derivatives, with the remedy: the compiler's backward pass has none."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "A compiled G has first derivatives only: its backward pass was asked to build a graph "
            "(`create_graph=True`). Set `compile: {tracked: false}`, or use the adjoint "
            "`Implicit(order=2)`: both differentiate the operator as it is."
        )


def _reason(err: Exception) -> str:
    """Return one line from the page that the compiler writes: what, where, and what to do."""
    inner = getattr(err, "inner_exception", None) or err
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    what = lines[0].rstrip(".") if lines else type(inner).__name__
    places = [line for line in str(err).splitlines() if line.lstrip().startswith("File ")]
    where = f" ({places[-1].strip()})" if places else ""
    if "compiler" in what.lower():
        return f"{what}. Install a C++ compiler (g++), or leave `compile` out."
    if isinstance(err, torch._dynamo.exc.BackendCompilerFailed):
        return f"{what}{where}. Try `compile: {{backend: aot_eager}}`, or leave `compile` out."
    return (
        f"{what}{where}. Write it in tensor operations, allow pieces by "
        "`compile: {fullgraph: false}`, or leave `compile` out."
    )
