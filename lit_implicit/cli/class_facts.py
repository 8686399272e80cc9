"""What a class says of itself, given its import path: its arguments, its base, its heirs."""

import importlib
import inspect
import sys


def _import(path: str) -> type | None:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def arguments(path: str) -> list[str]:
    """The arguments of a class that can be set; its first, if it is an optimizer's, cannot."""
    found = _import(path)
    names = list(inspect.signature(found).parameters) if found else []
    hidden = {
        "args",
        "kwargs",
        *(("params", "optimizer") if path.startswith("torch.optim") else ()),
    }
    return [name for name in names if name not in hidden]


def annotation(owner: str, key: str) -> str:
    """The class that an argument of `owner` must derive from, where the message leaves it out."""
    found = _import(owner)
    parameter = inspect.signature(found).parameters.get(key) if found else None
    kind = parameter.annotation if parameter else None
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else ""


def subclasses(base: str) -> list[str]:
    """Names of the concrete classes that are imported and derive from a base."""
    todo = [found] if (found := _import(base)) else []
    names: set[str] = set()
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not inspect.isabstract(kind) and not kind.__name__.startswith(("_", "Abstract")):
            names.add(kind.__name__)
    return sorted(names)


def to_define(path: str) -> str:
    """Say what an abstract class asks for: a choice, or the methods that its author left out."""
    module, _, name = path.rpartition(".")
    missing = getattr(getattr(sys.modules.get(module), name, None), "__abstractmethods__", ())
    if name.startswith("Abstract") or not missing:
        return "Give it a class_path."
    return f"Define in it: {', '.join(sorted(missing))}."
