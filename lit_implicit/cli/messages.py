"""Turn jsonargparse's error, a tree of all that was tried, into one line about what is wrong."""

import difflib
import importlib
import inspect
import re
from argparse import ArgumentParser
from collections.abc import Iterable

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_NO_IMPORT = re.compile(r"No module named|has no attribute|cannot import name")
_EXPECTED = re.compile(r"Expected (?:a|an|one of) (.+)|Not a valid subclass of (\w+)")
_GIVEN = re.compile(r"(?:Got value|Given value): (.+)$")
_NESTED = re.compile(r"NestedArg\(key='[^']*', val=(.*)\)$")
_BASE = re.compile(r"<class '([\w.]+)'>")


def explain(message: str, parser: ArgumentParser) -> str:
    """Say in one line what is wrong, where, what was given, what is allowed.

    The tree holds, from the outside to the inside, the keys and classes that lead to the mistake.
    For a union it lists the branches in order, and the first is the one that was meant.

    Args:
        message: The parser's message.
        parser: The parser, for the names that it knows.

    Returns:
        One line; a message of an unknown form is returned with its line breaks taken out.
    """
    if message.startswith("unrecognized arguments: "):
        return _unknown_option(message.partition(": ")[2].split()[0], parser)
    if found := re.search(r"does not accept option '([^']+)'", message):
        return _unknown_key(found[1], parser)
    if found := re.search(r"[Kk]ey [\"'](\S+)[\"'] is required|option (\S+) is required", message):
        return _missing(found[1] or found[2])
    return _nested(message) or " ".join(message.split())


def _unknown_option(option: str, parser: ArgumentParser) -> str:
    if not option.startswith("-"):
        return f"Argument {option!r} is not expected: options begin with `--`."
    option = option.partition("=")[0]
    known = [flag for action in parser._actions for flag in action.option_strings]
    return f"Option {option!r} is unknown.{_hint(option, known)} See `{_help(parser)}`."


def _unknown_key(key: str, parser: ArgumentParser) -> str:
    known = [action.dest for action in parser._actions]
    groups = {dest.partition(".")[0] for dest in known}
    known = known if "." in key else sorted(groups)
    return f"Key {key!r} of the config is unknown.{_hint(key, known)} See `{_help(parser)}`."


def _missing(key: str) -> str:
    key = key.replace("init_args.", "")
    return (
        f"`{key}` is not set. Name a task, `--task NAME` (see `lit-implicit tasks`), or give "
        f"`{key}` a class_path."
    )


def _nested(message: str) -> str | None:
    keys: list[str] = []
    owner = ""  # the class whose arguments are being looked at
    bases: list[str] = []
    for line in message.splitlines():
        if found := _KEY.search(line):
            keys.append(found[1])
        where = f"`{'.'.join(keys)}`"
        if line.strip().startswith("Subtypes:"):
            bases = _BASE.findall(line)
        if found := _CLASS.search(line):
            owner = found[1]
        elif found := _NOT_ACCEPTED.search(line):
            allowed = _arguments(owner)
            return (
                f"`{owner}` has no argument {found[1]!r} ({where}, {_given(message)})."
                f"{_hint(found[1], allowed)} Allowed: {', '.join(allowed) or 'none'}."
            )
        elif found := _NO_CLASS.search(line):
            names = _subclasses(bases or _annotation(owner, keys[-1] if keys else ""))
            return (
                f"{where} names the class {found[1]!r}, which is not known.{_hint(found[1], names)}"
                + (f" Known: {', '.join(names)};" if names else "")
                + " any other by its full path, 'package.module.Class'."
            )
        elif _NO_IMPORT.search(line):
            return f"{where} names the class {owner!r}, which cannot be imported: {line.strip()}."
        elif found := _EXPECTED.search(line):
            if found[1] and found[1].startswith("path but"):
                continue
            return f"{where} must be {_allowed(message, found)}, {_given(message)}."
        elif "is required" in line and (found := re.search(r"[\"'](\S+)[\"']", line)):
            return _missing(".".join([*keys, found[1]]))
    return None


def _allowed(message: str, found: re.Match[str]) -> str:
    types = re.search(r"Subtypes: \[(.*)\]", message)
    text = types[1] if types and found[1] else found[1] or f"a {found[2]}"
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("NoneType", "null")
    return re.sub(r"\. Got value.*$", "", text).replace(", ", " or ")


def _given(message: str) -> str:
    """What the user gave: the innermost value, which stands first."""
    for line in message.splitlines():
        if found := _GIVEN.search(line):
            nested = _NESTED.search(found[1])
            value = nested[1].strip("'") if nested else found[1]
            return f"got {value!r}" if not value.startswith(("{", "[")) else f"got {value}"
    return "got something else"


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _help(parser: ArgumentParser) -> str:
    return f"lit-implicit {parser.prog.split()[-1]} --help"


def _import(path: str) -> type | None:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) else None


def _arguments(path: str) -> list[str]:
    found = _import(path)
    if found is None:
        return []
    return [name for name in inspect.signature(found).parameters if name not in ("args", "kwargs")]


def _annotation(owner: str, key: str) -> list[str]:
    """The class that an argument of `owner` must derive from, where the message leaves it out."""
    found = _import(owner)
    parameter = inspect.signature(found).parameters.get(key) if found else None
    kind = parameter.annotation if parameter else None
    return [f"{kind.__module__}.{kind.__qualname__}"] if isinstance(kind, type) else []


def _subclasses(bases: list[str]) -> list[str]:
    """Names of the concrete classes that are imported and derive from the first base."""
    todo = [base for path in bases[:1] if (base := _import(path))]
    names: set[str] = set()
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not inspect.isabstract(kind) and not kind.__name__.startswith(("_", "Abstract")):
            names.add(kind.__name__)
    return sorted(names) if len(names) <= 20 else []
