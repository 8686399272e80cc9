"""Turn jsonargparse's error, a tree of all that was tried, into one line about what is wrong."""

import difflib
import importlib
import inspect
import itertools
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable

_KEY = re.compile(r'Parser key "([^"]+)"')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_REQUIRED = re.compile(r"arguments are required: (\S+?)(?:,|$)")
_NOT_ACCEPTED = re.compile(r"Option '([^']+)' is not accepted")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_NO_IMPORT = re.compile(r"No module named|has no attribute|cannot import name")
_WRONG_CLASS = re.compile(r"Import path (\S+ )?does not correspond to a subclass of (\w+)")
_ABSTRACT = re.compile(r"but (\S+) is abstract")
_EXPECTED = re.compile(r"Expected (?:an? )?(.+)|Not (?:a valid|of type) (subclass of \w+|\w+)")
_STRUCTURE = re.compile(r"Does not validate|Subtypes:|Errors:|Given value|Expected a path but|^-?$")
_BASE = re.compile(r"<class '([\w.]+)'>")


def explain(message: str, parser: ArgumentParser) -> str:
    """Say in one line what is wrong, where, what was given, what is allowed.

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
    return innermost(message) or " ".join(message.split())


def innermost(message: str) -> str | None:
    """Find the mistake in a tree of what was tried.

    From the outside to the inside, the tree names the keys and classes that lead to the mistake. Of
    a union it lists the branches in order; the first, a class, is what was meant, the last is null.

    Args:
        message: The tree, as jsonargparse prints it.

    Returns:
        One line, or None if the tree has an unknown form.
    """
    keys: list[str] = []
    owner = ""  # the class whose arguments are being looked at
    types = ""  # what the innermost value may be, if the tree says so
    lines = [line.strip() for line in message.splitlines()]
    for number, line in enumerate(lines):
        if key := _KEY.search(line):
            keys.append(key[1])
            types = ""
        where = f"`{'.'.join(keys)}`"
        text = line.removeprefix("- ")
        if line.startswith("Subtypes:"):
            types = line.partition(": ")[2][1:-1]
        elif found := _CLASS.search(line):
            owner, types = found[1], ""
        elif found := _REQUIRED.search(line):
            return _missing(".".join([*keys, found[1].rpartition(".")[2]]))
        elif found := _NOT_ACCEPTED.search(line):
            return _not_accepted(owner, found[1], where)
        elif found := _WRONG_CLASS.search(line):
            given = (found[1] or _given(lines, number)).strip()
            return f"{where} must be a subclass of {found[2]}, got {given}."
        elif found := _NO_CLASS.search(line):
            base = _BASE.search(types)
            return _no_class(found[1], where, base[1] if base else _annotation(owner, keys[-1]))
        elif _NO_IMPORT.search(line):
            return f"{where} names the class {owner!r}, which cannot be imported: {text}."
        elif found := _ABSTRACT.search(line):
            return f"{where} must name a class: {found[1]} is abstract. {_to_define(found[1])}"
        elif _STRUCTURE.search(line) or key:
            continue
        elif (found := _EXPECTED.match(text)) and keys:
            wanted, _, got = (found[1] or found[2]).partition(". Got value: ")
            return f"{where} must be {_plain(types or wanted)}, got {got or _given(lines, number)}."
        else:  # the class itself refused; its message goes on to the next branch of the union
            own = itertools.takewhile(lambda part: not part.startswith("- "), lines[number + 1 :])
            return " ".join([text, *own])
    return None


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
    return (
        f"`{key}` is not set. Name a task, `--task NAME` (see `lit-implicit tasks`), or give "
        f"`{key}` a value."
    )


def _not_accepted(owner: str, name: str, where: str) -> str:
    allowed = _arguments(owner)
    return (
        f"{where} has no argument {name!r}.{_hint(name, allowed)} "
        f"{owner} takes {', '.join(allowed) or 'none'}."
    )


def _no_class(name: str, where: str, base: str) -> str:
    names = _subclasses(base)
    known = f" Known: {', '.join(names)}." if 0 < len(names) <= 16 else ""
    return (
        f"{where} names the class {name!r}, which is not known.{_hint(name, names)}{known} "
        "Name any other by its full path, 'package.module.Class'."
    )


def _plain(types: str) -> str:
    """Put a list of types in words."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types)
    types = re.sub(r"typing\.|collections\.abc\.", "", types).replace("NoneType", "null")
    types = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace(", ", " or "), types)
    if types in ("Sequence", "list"):
        return "a list, as '[one, two]'"
    return re.sub(r", (?![^\[]*\])", " or ", types)


def _given(lines: list[str], number: int) -> str:
    """The value that a branch is about: the first that is printed behind it."""
    for line in lines[number:]:
        if line.startswith("Given value: "):
            value = line.removeprefix("Given value: ")
            nested = re.match(r"NestedArg\(key='[^']*', val=(.*)\)$", value)
            return nested[1] if nested else value
    return "something else"


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
    """The arguments of a class that can be set; its first, if it is an optimizer's, cannot."""
    found = _import(path)
    names = list(inspect.signature(found).parameters) if found else []
    hidden = {
        "args",
        "kwargs",
        *(("params", "optimizer") if path.startswith("torch.optim") else ()),
    }
    return [name for name in names if name not in hidden]


def _annotation(owner: str, key: str) -> str:
    """The class that an argument of `owner` must derive from, where the message leaves it out."""
    found = _import(owner)
    parameter = inspect.signature(found).parameters.get(key) if found else None
    kind = parameter.annotation if parameter else None
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else ""


def _subclasses(base: str) -> list[str]:
    """Names of the concrete classes that are imported and derive from a base."""
    todo = [found] if (found := _import(base)) else []
    names: set[str] = set()
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if not inspect.isabstract(kind) and not kind.__name__.startswith(("_", "Abstract")):
            names.add(kind.__name__)
    return sorted(names)


def _to_define(path: str) -> str:
    """Say what an abstract class asks for: a choice, or the methods that its author left out."""
    module, _, name = path.rpartition(".")
    missing = getattr(getattr(sys.modules.get(module), name, None), "__abstractmethods__", ())
    if name.startswith("Abstract") or not missing:
        return "Give it a class_path."
    return f"Define in it: {', '.join(sorted(missing))}."
