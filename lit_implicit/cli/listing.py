"""`lit-implicit tasks`: a table of the registered tasks, without importing torch."""

import difflib
from collections.abc import Sequence

from lit_implicit import registry
from lit_implicit.errors import ConfigError, LitImplicitError
from lit_implicit.registry import TaskEntry

_HELP = """\
usage: lit-implicit tasks [--check] [NAME...]

List the installed tasks, all or those named, with the package that each comes from.

  --check  Import all that they name, and say of each whether it is fine, or what is wrong with it
           and what to do. The exit code is 2 if any fails. What the classes do is not checked here:
           `lit_implicit.testing.check_task(NAME)` does."""


def list_tasks(args: Sequence[str]) -> int:
    """Print one line per task.

    Args:
        args: The arguments after `tasks`: names of tasks, none for all, and `--check` to import all
            that they name.

    Returns:
        0, or 2 if a check found a problem.

    Raises:
        ConfigError: If another option is given.
        TaskNotFoundError: If a name is not registered.
    """
    if "-h" in args or "--help" in args:
        print(_HELP)  # noqa: T201
        return 0
    if unknown := [arg for arg in args if arg.startswith("-") and arg != "--check"]:
        close = difflib.get_close_matches(unknown[0], ["--check"], n=1)
        raise ConfigError(
            f"`lit-implicit tasks` has no option {unknown[0]!r}: it takes `--check` and names of "
            "tasks." + (f" Did you mean {close[0]!r}?" if close else "")
        )
    entries = registry.listing([arg for arg in args if not arg.startswith("-")])
    if not entries:
        print(  # noqa: T201
            "No task is installed: `uv pip install 'lit-implicit[all]'` (or `pip install ...`)."
        )
        return 0
    if "--check" not in args:
        _print_table(entries, "summary", [_fails(e.problem) or e.summary for e in entries])
        return 0
    # All specs are loaded by now: the classes of one task import torch, which no spec should.
    problems = [entry.problem or _class_problem(entry.name) for entry in entries]
    verdicts = [_fails(p) or _fine(e.name) for p, e in zip(problems, entries, strict=True)]
    _print_table(entries, "check", verdicts)
    return 2 if any(problems) else 0


def _class_problem(name: str) -> str:
    """Import the classes of a task; return what is wrong with them, or nothing."""
    try:
        registry.load_classes(name, registry.get(name))
    except LitImplicitError as err:
        return str(err)
    return ""


def _fails(problem: str) -> str:
    return f"fails: {' '.join(problem.split())}" if problem else ""


def _fine(name: str) -> str:
    spec = registry.get(name)
    parts = [path.rpartition(".")[2] for path in (spec.data, spec.objective)]
    operators, baselines = (", ".join(names) for names in (spec.operators, spec.baselines))
    parts += [f"operators {operators}", *([f"baselines {baselines}"] if baselines else [])]
    return f"fine: {'; '.join(parts)}"


def _print_table(entries: Sequence[TaskEntry], title: str, last: Sequence[str]) -> None:
    rows = [("task", "package", "spec", title)]
    rows += [
        (e.name or "?", e.package, e.value, cell) for e, cell in zip(entries, last, strict=True)
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))  # noqa: T201
