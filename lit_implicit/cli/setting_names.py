"""The user's names for settings, in what a class says of its arguments."""

import re
from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace

from lit_implicit.cli.first_pass import COMMANDS

_ARGUMENT = re.compile(r"`(\w+)\.(\w+)`")


def with_keys(message: str, config: Namespace) -> str:
    """Replace `Class.argument` by the key that sets it, as `model.solver.depth`.

    A class that stands in several places is replaced only where the value in the message tells
    which of them is meant; one in a list has no key of its own.

    Args:
        message: What the class said.
        config: The settings that it was made from.
    """
    made = list(_classes(config.as_dict(), ()))

    def key_of(found: re.Match[str]) -> str:
        name, argument = found.groups()
        places = [
            (path, init_args)
            for path, kind, init_args in made
            if kind == name and argument in init_args
        ]
        if len(places) > 1:
            given = message[found.end() :]
            places = [p for p in places if f"got {p[1][argument]}" in given]
        if len({path for path, _ in places}) != 1:
            return found[0]
        return f"`{'.'.join([*places[0][0], argument])}`"

    return _ARGUMENT.sub(key_of, message)


def _classes(
    node: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """Yield the classes in a config with their keys and arguments, but those in lists."""
    if not isinstance(node, dict):
        return
    if isinstance(node.get("class_path"), str):
        init_args = node.get("init_args") or {}
        yield path, node["class_path"].rpartition(".")[2], init_args
        node = init_args
    for key, value in node.items():
        yield from _classes(value, path if not path and key in COMMANDS else (*path, key))
