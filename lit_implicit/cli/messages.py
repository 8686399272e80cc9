"""Turn jsonargparse's error, a tree of all that was tried, into one line about what is wrong."""

import difflib
import itertools
import re
from argparse import ArgumentParser
from collections.abc import Iterable

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_implicit.cli.class_facts import annotation, arguments, subclasses, to_define
from lit_implicit.errors import ConfigError, LitImplicitError

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
        return unknown_key(found[1], parser)
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
    # A class of another kind; but another branch of the union may take it.
    misfit: tuple[str, str] | None = None
    bases: list[str] = []
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
            return _missing(owner, keys, found[1].rpartition(".")[2])
        elif found := _NOT_ACCEPTED.search(line):
            return _not_accepted(owner, found[1], where)
        elif found := _WRONG_CLASS.search(line):
            misfit = f"{where} must be a subclass of", (found[1] or _given(lines, number)).strip()
            bases.append(found[2])
        elif found := _NO_CLASS.search(line):
            kinds = _BASE.findall(types) or [annotation(owner, keys[-1])]
            return _no_class(found[1], where, kinds)
        elif _NO_IMPORT.search(line):
            return f"{where} names the class {owner!r}, which cannot be imported: {text}."
        elif found := _ABSTRACT.search(line):
            return f"{where} must name a class: {found[1]} is abstract. {to_define(found[1])}"
        elif _STRUCTURE.search(line) or key:
            continue
        elif (found := _EXPECTED.match(text)) and keys:
            if misfit:  # null, the last branch
                return f"{misfit[0]} {' or '.join(bases)}, got {misfit[1]}."
            if text == "Expected a <class 'list'>" and _CLASS.search(lines[number + 1]):
                continue  # it is one, not in a list, and not a sound one
            wanted, _, got = (found[1] or found[2]).partition(". Got value: ")
            return f"{where} must be {_plain(types or wanted)}, got {got or _given(lines, number)}."
        else:  # the class itself refused; its message goes on to the next branch of the union
            own = itertools.takewhile(lambda part: not part.startswith("- "), lines[number + 1 :])
            return " ".join([text, *own])
    return f"{misfit[0]} {' or '.join(bases)}, got {misfit[1]}." if misfit else None


def refusal(err: Exception) -> tuple[type[LitImplicitError], str] | None:
    """Find what a class said of its arguments, below the reports about the branches of unions.

    Args:
        err: What the parser raised when it built the classes.

    Returns:
        The class of the error and its text; None if it is no refusal, but a bug of the class.
    """
    own = origin(err)
    if isinstance(own, LitImplicitError):
        return type(own), str(own)
    if not isinstance(own, ValueError | MisconfigurationException):
        return None
    text = str(own)
    if _WRONG_CLASS.search(text):  # the first branch, where another is the one that was meant
        text = innermost(str(err)) or text
    return ConfigError, f"A setting is not allowed: {text}"


def origin(err: BaseException) -> BaseException:
    """Return what a class raised, below the reports about the branches of unions."""
    while str(err).startswith("Does not validate") and (inner := err.__cause__ or err.__context__):
        err = inner
    return err


def _unknown_option(option: str, parser: ArgumentParser) -> str:
    if not option.startswith("-"):
        return f"Argument {option!r} is not expected: options begin with `--`."
    option = option.partition("=")[0]
    known = [flag for action in parser._actions for flag in action.option_strings]
    return f"Option {option!r} is unknown.{_hint(option, known)} See `{_help(parser)}`."


def unknown_key(key: str, parser: ArgumentParser) -> str:
    """Say that a config sets what there is not."""
    known = [action.dest for action in parser._actions]
    groups = {dest.partition(".")[0] for dest in known}
    known = known if "." in key else sorted(groups)
    return f"Key {key!r} of the config is unknown.{_hint(key, known)} See `{_help(parser)}`."


def _missing(owner: str, keys: list[str], name: str) -> str:
    """Say what is not set: a part that a task would bring, or an argument of a class."""
    key = ".".join([*keys, name])
    if keys in ([], ["model"]):
        return (
            f"`{key}` is not set. Name a task, `--task NAME` (see `lit-implicit tasks`), or give "
            f"`{key}` a value."
        )
    short = owner.rpartition(".")[2]
    return (
        f"`{'.'.join(keys)}` names {short} without its argument `{name}`. Write {{class_path: "
        f"{owner}, init_args: {{{name}: ...}}}} (see {short}'s docstring for it)."
    )


def _not_accepted(owner: str, name: str, where: str) -> str:
    allowed = arguments(owner)
    return (
        f"{where} has no argument {name!r}.{_hint(name, allowed)} "
        f"{owner} takes {', '.join(allowed) or 'none'}."
    )


def _no_class(name: str, where: str, bases: Iterable[str]) -> str:
    names = sorted({known for base in bases for known in subclasses(base)})
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
