"""Apply a function to all tensors of an input or a context, in whatever nesting they come."""

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(
    function: Callable[[Tensor], Any], tree: Any, *, other: Callable[[Any], Any] | None = None
) -> Any:
    """Return a copy of `tree` with `function` applied to its tensors.

    torch's own tree functions do not look into dataclasses, which contexts often are.

    Args:
        function: Applied to each tensor.
        tree: Tensors in any nesting of tuples, lists, dicts and dataclasses; None stays None.
        other: Applied to anything else that is found; None leaves it as it is.
    """

    def walk(node: Any) -> Any:
        if node is None:
            return None
        if isinstance(node, Tensor):
            return function(node)
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, (tuple, list)):
            parts = [walk(value) for value in node]
            return type(node)(*parts) if hasattr(node, "_fields") else type(node)(parts)
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            names = [field.name for field in dataclasses.fields(node) if field.init]
            return dataclasses.replace(node, **{name: walk(getattr(node, name)) for name in names})
        return node if other is None else other(node)

    return walk(tree)
