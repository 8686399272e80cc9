"""How the scripts of tasks end: `python -m lit_implicit_TASK.NAME`."""

import sys
from collections.abc import Callable

from lit_implicit.errors import LitImplicitError


def run_script(run: Callable[[], object]) -> int:
    """Do what a script is for and print what that returns; a user's mistake is told in one line.

    Args:
        run: What the script does, its arguments bound.

    Returns:
        The exit status: 0, or 2 where what was asked for cannot be done, or not be written.
    """
    try:
        found = run()
    except (LitImplicitError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    print(found)  # noqa: T201
    return 0
