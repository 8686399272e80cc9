"""Which tasks are registered, and by whom, as installed metadata say; no task is imported."""

import re
import warnings
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

GROUP = "lit_implicit.tasks"


@dataclass(frozen=True)
class TaskEntry:
    """One line of `lit-implicit tasks`.

    Args:
        name: Name of the task; empty if the metadata of its package cannot be read.
        package: The distribution that registers it, with its version.
        value: Where its spec is, `module:attribute`.
        summary: The spec's own summary; empty if there is a problem.
        problem: Why the task cannot be used; empty if it can, as far as is known.
    """

    name: str
    package: str
    value: str
    summary: str = ""
    problem: str = ""


def entries() -> list[TaskEntry]:
    """Return what is registered, in the order of `sys.path`.

    A distribution whose metadata lie in several places, a stale `*.egg-info` beside an editable
    install say, counts once: the first that Python finds, as for imports. So does one spec under
    one name. The standard library's `entry_points` fails altogether where one file is malformed.
    """
    found: dict[tuple[str, str], TaskEntry] = {}
    seen: set[str] = set()
    for dist in distributions():
        if not _registers(dist):
            continue
        name = re.sub(r"[-_.]+", "-", _text(dist, "Name")).lower()
        if name and name in seen:
            continue
        seen.add(name)
        for entry in _entries_of(dist):
            found.setdefault((entry.name, entry.value), entry)
    return list(found.values())


def places(package: str) -> list[str]:
    """Return the folders in which metadata of a distribution lie: more than one, if any is stale.

    Args:
        package: A `TaskEntry.package`.
    """
    name = package.partition(" ")[0]
    return list(dict.fromkeys(str(dist.locate_file("")) for dist in distributions(name=name)))


def _registers(dist: Distribution) -> bool:
    """Whether a distribution speaks of our group, by its text: most do not, and are not parsed."""
    try:
        return GROUP in (dist.read_text("entry_points.txt") or "")
    except Exception:  # no text: nobody can read it, see below
        return True


def _entries_of(dist: Distribution) -> list[TaskEntry]:
    package = f"{_text(dist, 'Name') or 'unnamed'} {_text(dist, 'Version') or '(no version)'}"
    try:
        own = [entry for entry in dist.entry_points if entry.group == GROUP]
    except Exception as err:  # what is raised depends on the version of Python
        problem = (
            f"`entry_points.txt` of {package} in {dist.locate_file('')} is malformed "
            f"({type(err).__name__}: {err}), and keeps torch, which reads all of them, from being "
            "imported. Install that package again, or uninstall it."
        )
        return [TaskEntry("", package, "", problem=problem)]
    return [TaskEntry(entry.name.strip(), package, entry.value.strip()) for entry in own]


def _text(dist: Distribution, key: str) -> str:
    """A field of the metadata; empty if it, or the whole file, is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of a missing key, then raise
            return str(dist.metadata[key] or "").strip()
    except Exception:
        return ""
