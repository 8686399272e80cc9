"""Keys of a config with nothing below them: the parser drops them, known or not."""

from collections.abc import Iterator
from typing import Any

import yaml

# Where a class takes its arguments; nothing below means that all have their defaults.
_STRUCTURE = {"init_args", "dict_kwargs"}


def without_value(text: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of a config whose value is an empty mapping, `modle: {}`.

    Args:
        text: The config; one that is no YAML has none.

    Yields:
        The key as `trainer.modle`, and the config with no other settings but this key, with null
        as its value, and the classes on the way to it: the parser judges names by that.
    """
    try:
        root = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    for path in _empty(root, ()):
        yield ".".join(path), yaml.safe_dump(_alone(root, path))


def _empty(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(node, dict):
        return
    if not node and path and path[-1] not in _STRUCTURE:
        yield path
    for key, value in node.items():
        yield from _empty(value, (*path, str(key)))


def _alone(node: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return None
    kept = {"class_path": node["class_path"]} if "class_path" in node else {}
    key = next(key for key in node if str(key) == path[0])
    return {**kept, key: _alone(node[key], path[1:])}
