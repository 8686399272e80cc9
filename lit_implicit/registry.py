"""The tasks that installed distributions register, found by name and loaded one at a time.

A distribution registers a task by an entry point `NAME = "package:spec"` in the group
`lit_implicit.tasks`, where `spec` is a `TaskSpec`. Names come from installed metadata, so listing
them runs no code of a task, and a broken task harms no other. Standard library only.
"""

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from lit_implicit.errors import (
    BrokenTaskError,
    DuplicateTaskError,
    LitImplicitError,
    MissingExtraError,
    TaskNotFoundError,
)
from lit_implicit.task import TaskSpec

GROUP = "lit_implicit.tasks"
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


@dataclass(frozen=True)
class TaskEntry:
    """One line of `lit-implicit tasks`.

    Args:
        name: Name of the task.
        package: The distribution that registers it, with its version.
        value: Where its spec is, `module:attribute`.
        summary: The spec's own summary; empty if there is a problem.
        problem: Why the task cannot be used; empty if it can.
    """

    name: str
    package: str
    value: str
    summary: str = ""
    problem: str = ""


def names() -> list[str]:
    """Return the registered names in alphabetical order, without importing any task."""
    return sorted({entry.name for entry in _entries()})


def get(name: str) -> TaskSpec:
    """Load the task registered under `name`, and no other.

    Raises:
        TaskNotFoundError: If no distribution registers this name.
        DuplicateTaskError: If more than one does.
        BrokenTaskError: If its entry point cannot be loaded or is not a `TaskSpec`.
    """
    found = [entry for entry in _entries() if entry.name == name]
    if not found:
        raise TaskNotFoundError(_not_found(name))
    if len(found) > 1:
        owners = " and ".join(f"{_package(entry)} ({entry.value})" for entry in found)
        raise DuplicateTaskError(
            f"Task {name!r} is registered more than once: by {owners}. Uninstall one of them, or "
            "give one another name in its entry point."
        )
    return _load(found[0])


def listing() -> list[TaskEntry]:
    """Describe every registered task; one that cannot be loaded is described by its problem."""
    entries = []
    for entry in sorted(_entries(), key=lambda entry: entry.name):
        try:
            text = {"summary": get(entry.name).summary}
        except DuplicateTaskError:
            text = {"problem": "the name is registered more than once"}
        except LitImplicitError as err:
            text = {"problem": _reason(err.__cause__ or err)}
        entries.append(TaskEntry(entry.name, _package(entry), entry.value, **text))
    return entries


def load_classes(name: str, spec: TaskSpec) -> Mapping[str, type]:
    """Import all classes that a spec names, so that their short names are known from then on.

    Args:
        name: Name of the task, for messages.
        spec: Its description.

    Returns:
        The classes, by the field of the spec that names them, as `operators.gnn`.

    Raises:
        MissingExtraError: If a library that is not the task's own is not installed.
        BrokenTaskError: If a class cannot be imported for any other reason.
    """
    return {
        field: _import_class(path, f"`{field}` of task {name!r}", spec.install)
        for field, path in spec.class_paths().items()
    }


def _entries() -> list[EntryPoint]:
    """The entry points of our group; tests put their own here."""
    return list(entry_points(group=GROUP))


def _package(entry: EntryPoint) -> str:
    dist = entry.dist
    return f"{dist.name} {dist.version}" if dist else "an unknown distribution"


def _reason(err: BaseException) -> str:
    return f"{type(err).__name__}: {err}" if str(err) else type(err).__name__


def _not_found(name: str) -> str:
    known = names()
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"Task {name!r} is not registered. Known: {', '.join(known) or 'none'}. "
        + (f"Did you mean {close[0]!r}? " if close else "")
        + "If you have just added it, run `pip install -e .` (or `uv sync`) again: entry points "
        "are read from installed metadata."
    )


def _load(entry: EntryPoint) -> TaskSpec:
    what = f"Task {entry.name!r} ({entry.value}, from {_package(entry)})"
    if not _NAME.match(entry.name):
        raise BrokenTaskError(
            f"{what} has a name that is not allowed: use small letters, digits and '_', beginning "
            "with a letter."
        )
    try:
        spec = entry.load()
    except Exception as err:  # whatever a task raises, its user must learn whose it is
        raise BrokenTaskError(
            f"{what} cannot be loaded: {_reason(err)}. Repair or uninstall that package; "
            "other tasks are not affected."
        ) from err
    if not isinstance(spec, TaskSpec):
        raise BrokenTaskError(
            f"{what} must be a `lit_implicit.task.TaskSpec`, got {type(spec).__name__}."
        )
    return spec


def _import_class(path: str, what: str, install: str) -> type:
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as err:
        missing = (err.name or "").partition(".")[0]
        if missing in ("", path.partition(".")[0], "lit_implicit"):
            raise BrokenTaskError(f"{what}, {path!r}, cannot be imported: {_reason(err)}.") from err
        remedy = f"Install it with: {install}" if install else f"Install {missing!r}"
        raise MissingExtraError(
            f"{what} needs {missing!r}, which is not installed. {remedy}"
        ) from err
    except Exception as err:
        raise BrokenTaskError(f"{what}, {path!r}, cannot be imported: {_reason(err)}.") from err
    if not isinstance(found, type):
        raise BrokenTaskError(f"{what}, {path!r}, must be a class, got {type(found).__name__}.")
    return found
