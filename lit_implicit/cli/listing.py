"""`lit-implicit tasks`: a table of the registered tasks, without importing torch."""

from collections.abc import Sequence

from lit_implicit import registry
from lit_implicit.errors import ConfigError, LitImplicitError

_HEADER = ("task", "package", "spec", "summary")


def list_tasks(args: Sequence[str]) -> int:
    """Print one line per task.

    Args:
        args: The arguments after `tasks`: none, or `--check` to import all that the tasks name.

    Returns:
        0, or 2 if a check found a problem.

    Raises:
        ConfigError: If another argument is given.
    """
    if unknown := [arg for arg in args if arg not in ("--check", "-h", "--help")]:
        raise ConfigError(f"`lit-implicit tasks` accepts `--check` only, got {unknown[0]!r}.")
    check = "--check" in args
    rows, failed = [], False
    for entry in registry.listing():
        problem = entry.problem or (check and _check(entry.name)) or ""
        failed = failed or bool(problem)
        last = f"fails: {problem}" if problem else entry.summary
        rows.append((entry.name, entry.package, entry.value, last))
    if not rows:
        print("No task is installed: `pip install 'lit-implicit[all]'`.")  # noqa: T201
        return 0
    widths = [max(len(row[i]) for row in [_HEADER, *rows]) for i in range(3)]
    for row in [_HEADER, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]))  # noqa: T201
    return 2 if check and failed else 0


def _check(name: str) -> str:
    """Import the classes of a task; return what is wrong with them, or nothing."""
    from lit_implicit.testing.classes import class_problem

    try:
        return class_problem(name, registry.get(name))
    except LitImplicitError as err:
        return str(err)
