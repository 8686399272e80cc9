"""From an entry point to its `TaskSpec`, whatever stands there instead."""

import re

from lit_implicit.errors import BrokenTaskError
from lit_implicit.registry.foreign import fetch, reason
from lit_implicit.registry.metadata import TaskEntry, places
from lit_implicit.task import TaskSpec

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VALUE = re.compile(r"([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*\])?")  # [extras]: ignored
_REMEDY = "Repair or uninstall that package; other tasks are not affected."


class SpecProblem(Exception):
    """What is wrong with an entry point, without its name and its package."""


def load_spec(entry: TaskEntry) -> TaskSpec:
    """Load the spec that an entry point names.

    Raises:
        BrokenTaskError: If there is no `TaskSpec`; with name, value, package and version.
    """
    try:
        return read_spec(entry)
    except SpecProblem as err:
        value = entry.value or "no value"
        raise BrokenTaskError(
            f"Task {entry.name!r} ({value}, from {entry.package}) {err}"
        ) from err.__cause__


def read_spec(entry: TaskEntry, *, light: bool = False) -> TaskSpec:
    """Load the spec that an entry point names.

    Args:
        entry: The entry point.
        light: Whether a module that imports torch or lightning is stopped, as not fit to be listed.

    Raises:
        SpecProblem: If there is no `TaskSpec`; from what its module raised, if it did.
    """
    if not _NAME.fullmatch(entry.name):
        raise SpecProblem(
            "has a name that is not allowed: use small letters, digits and '_', beginning with a "
            "letter."
        )
    value = _VALUE.fullmatch(entry.value)
    if not value:
        raise SpecProblem(
            f"has an entry point that leads nowhere: write it as 'module:attribute', as "
            f'`{entry.name} = "my_package:task"`, got {entry.value!r}.'
        )
    try:
        spec = fetch(value[1], value[2], light=light)
    except Exception as err:  # whatever a task raises, its user must learn whose it is
        raise SpecProblem(f"cannot be loaded: {reason(err)}. {_stale(entry)}{_REMEDY}") from err
    if not isinstance(spec, TaskSpec):
        raise SpecProblem(f"must be a `lit_implicit.TaskSpec`, got {_kind(spec)}. {_REMEDY}")
    return spec


def _kind(found: object) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__} itself: write `{found.__name__}(...)`"
    return type(found).__name__


def _stale(entry: TaskEntry) -> str:
    """Where metadata lie, if in several places: an old one may name what is no longer there."""
    folders = places(entry.package)
    if len(folders) < 2:
        return ""
    return f"Its metadata lie in {' and in '.join(folders)}: remove what is stale. "
