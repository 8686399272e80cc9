"""Import somebody else's code, so that whatever it does at its import is one exception.

Some packages print, warn, or call `sys.exit()` when they are imported. What they print goes to
stderr, as stdout belongs to the command (`--print_config > config.yaml`); a program that one of
them ends goes on. Ctrl-C is nobody's mistake and passes.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.abc import MetaPathFinder
from typing import Any

_HEAVY = ("torch", "lightning")
_LONGEST = 300  # characters of somebody else's message


def fetch(module: str, attribute: str, *, light: bool = False) -> Any:
    """Import a module and return an attribute of it.

    Args:
        module: Its full name.
        attribute: Name of the attribute; with dots, an attribute of that.
        light: Whether an import of torch or lightning on the way, not made before, is an error.

    Raises:
        ImportError: If the module ends the program, or imports what it must not.
        Exception: Whatever else it raises.
    """
    refusing = _refusing_heavy() if light else contextlib.nullcontext()
    with contextlib.redirect_stdout(sys.stderr), refusing:
        try:
            return reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (Exception, KeyboardInterrupt):
            raise
        except _HeavyImport as err:
            raise ImportError(
                f"{module!r} imports {err}, and would make every listing of tasks wait for it; let "
                "the module of the spec import `lit_implicit.TaskSpec` alone"
            ) from None
        except BaseException as err:
            raise ImportError(f"importing {module!r} ends the program ({reason(err)})") from err


def reason(err: BaseException) -> str:
    """Say in one line of bounded length what was raised."""
    try:
        text = " ".join(str(err).split())
    except Exception:  # an exception that cannot even be printed
        text = ""
    text = f"{type(err).__name__}: {text}".rstrip(":. ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} [...]"


class _HeavyImport(BaseException):
    """Not an `ImportError`, which `try: import torch` would take for a missing library."""


class _Refusal(MetaPathFinder):
    """Stops the import of heavy libraries; one that is imported already is not asked for."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname in _HEAVY:
            raise _HeavyImport(fullname)


@contextlib.contextmanager
def _refusing_heavy() -> Iterator[None]:
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)
