"""How a function gets to a backend of `torch.compile`, apart from all others."""

import types
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def with_own_code(function: Function) -> Function:
    """Return the same function with a code object of its own.

    Dynamo keeps what it compiled with the code object, which closures share, and gives up after
    eight versions.
    """
    own = types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return own  # type: ignore[return-value]


def lowered(graph: Any, inputs: Any, backend: str, mode: str) -> Any:
    """Return the code that a backend makes of a graph.

    Args:
        graph: What Dynamo traced.
        inputs: What it is called with.
        backend: Name of a backend of `torch.compile`.
        mode: Of inductor; the others have none.
    """
    if backend != "inductor":
        return torch._dynamo.lookup_backend(backend)(graph, inputs)
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(graph, inputs, config_patches=list_mode_options(mode))
