"""The tasks that installed distributions register, found by name and loaded one at a time.

A distribution registers a task by an entry point `NAME = "package:spec"` in the group
`lit_implicit.tasks`, where `spec` is a `TaskSpec`. Names come from installed metadata, so listing
them runs no code of a task. What a task's own code does wrong is an error of that task, with its
package and version; it harms no other. Standard library only.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace

from lit_implicit.errors import BrokenTaskError, DuplicateTaskError, TaskNotFoundError
from lit_implicit.registry.classes import load_classes
from lit_implicit.registry.metadata import GROUP, TaskEntry, entries
from lit_implicit.registry.specs import SpecProblem, load_spec, read_spec
from lit_implicit.task import TaskSpec

__all__ = ["GROUP", "TaskEntry", "get", "listing", "load_classes", "names"]

_RENAME = "Uninstall one of them, or give one another name in its entry point."


def names() -> list[str]:
    """Return the registered names in alphabetical order, without importing any task."""
    return sorted({entry.name for entry in entries() if not entry.problem})


def get(name: str) -> TaskSpec:
    """Load the task registered under `name`, and no other.

    Raises:
        TaskNotFoundError: If no distribution registers this name.
        DuplicateTaskError: If several do, and not for the same spec.
        BrokenTaskError: If its entry point cannot be loaded or is not a `TaskSpec`; or if the
            metadata of any package are malformed: then torch cannot be imported for this task.
    """
    registered = entries()
    if problems := [entry.problem for entry in registered if entry.problem]:
        raise BrokenTaskError(problems[0])
    found = [entry for entry in registered if entry.name == name]
    if not found:
        raise TaskNotFoundError(_not_found(name))
    if len(found) > 1:
        owners = " and ".join(map(_owner, found))
        raise DuplicateTaskError(
            f"Task {name!r} is registered more than once: by {owners}. {_RENAME}"
        )
    return load_spec(found[0])


def listing(only: Collection[str] = ()) -> list[TaskEntry]:
    """Describe the registered tasks; one that cannot be loaded is described by its problem.

    A spec whose module imports torch or lightning is stopped there, and that is its problem: a
    listing waits for neither.

    Args:
        only: Names of the tasks to describe and to load; none means all.

    Raises:
        TaskNotFoundError: If one of these names is not registered.
    """
    found = entries()
    for name in only:
        if name not in {entry.name for entry in found}:
            raise TaskNotFoundError(_not_found(name))
    wanted = [entry for entry in found if not only or entry.name in only]
    return [_describe(entry, found) for entry in sorted(wanted, key=lambda entry: entry.name)]


def _describe(entry: TaskEntry, found: Sequence[TaskEntry]) -> TaskEntry:
    if entry.problem:
        return entry
    others = [e for e in found if e.name == entry.name and e is not entry]
    if others:
        owners = " and ".join(map(_owner, others))
        return replace(entry, problem=f"is also registered by {owners}. {_RENAME}")
    try:
        return replace(entry, summary=" ".join(read_spec(entry, light=True).summary.split()))
    except SpecProblem as err:
        return replace(entry, problem=str(err))


def _owner(entry: TaskEntry) -> str:
    return f"{entry.package} ({entry.value})"


def _not_found(name: str) -> str:
    known = names()
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"Task {name!r} is not registered. Known: {', '.join(known) or 'none'}. "
        + (f"Did you mean {close[0]!r}? " if close else "")
        + "If you have just added it, install its package again, `uv pip install -e .` (or `pip "
        "install -e .`): entry points are read from installed metadata."
    )
