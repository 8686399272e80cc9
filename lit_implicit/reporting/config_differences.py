"""Where configs differ, key by key. Needs neither torch nor Lightning."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

UNSET = "(not set)"
"""Stands for the value of a config that lacks a key."""


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a config with their full keys, `model.init_args.solver.class_path`."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list) and any(isinstance(part, Mapping) for part in node):
        for number, part in enumerate(node):
            yield from flat(part, f"{prefix}.{number}")
    else:
        yield prefix, node


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the settings in which flat configs differ: a value of each, by key.

    Where the class of an object differs, its arguments say nothing more and are left out.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = {key: [_show(config.get(key, UNSET)) for config in configs] for key in keys}
    rows = {key: values for key, values in rows.items() if len(set(values)) > 1}
    other = [k.removesuffix("class_path") + "init_args" for k in rows if k.endswith(".class_path")]
    return {key: values for key, values in rows.items() if not key.startswith(tuple(other))}


def _show(value: Any) -> str:
    return "null" if value is None else str(value)
