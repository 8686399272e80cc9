"""The first look at the arguments: which command, which configs, which task.

It runs before torch is imported, so that a mistyped task is told at once, and before the parser
is built, so that the task's classes are known by their short names and its defaults are set.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lit_implicit import registry
from lit_implicit.cli import short_names
from lit_implicit.errors import ConfigError
from lit_implicit.task import TaskSpec

COMMANDS = {
    "fit": "Train, then test with the best checkpoint.",
    "validate": "Evaluate on the validation split.",
    "test": "Evaluate on the test split.",
    "predict": "Write the answers to the predict split.",
    "curve": "Measure error and Lipschitz constant against the number of iterations.",
}
_CONFIG_FLAGS = ("--config", "-c")


@dataclass(frozen=True)
class Request:
    """What the first pass found.

    Args:
        command: Name of the command.
        argv: The arguments for the parser, put in an order in which flags beat configs.
        task: Name of the task, if one is named.
        spec: Its description.
    """

    command: str
    argv: tuple[str, ...]
    task: str | None = None
    spec: TaskSpec | None = None


def first_pass(argv: list[str]) -> Request:
    """Find the command and the task.

    Raises:
        ConfigError: If the command is unknown, or a config cannot be read.
        TaskError: If the task is unknown or broken.
    """
    before, command, after = _split(argv)
    configs, flags = _pull_configs(after)
    paths = [*_pull_configs(before)[0], *configs]
    task = _task(command, paths, flags)
    spec = registry.get(task) if task else None
    if spec:
        flags = [*short_names.in_flags(flags, spec)]
    configs = [part for path in configs for part in ("--config", path)]
    return Request(command, (*before, command, *configs, *flags), task, spec)


def _split(argv: list[str]) -> tuple[list[str], str, list[str]]:
    """Part the arguments at the command; before it there may be configs for all commands."""
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        if argv[index].partition("=")[0] not in _CONFIG_FLAGS:
            raise ConfigError(
                f"Option {argv[index]!r} stands before the command. Write `lit-implicit COMMAND "
                f"{argv[index]} ...` with one of: {', '.join(COMMANDS)}."
            )
        index += 1 if "=" in argv[index] else 2
    command = argv[index] if index < len(argv) else ""
    if command not in COMMANDS:
        known = [*COMMANDS, "tasks", "report"]
        close = difflib.get_close_matches(command, known, n=1)
        raise ConfigError(
            f"{command!r} is no command. Known: {', '.join(known)}. "
            + (f"Did you mean {close[0]!r}?" if close else "See `lit-implicit --help`.")
        )
    return argv[:index], command, argv[index + 1 :]


def _pull_configs(args: list[str]) -> tuple[list[str], list[str]]:
    """Part the config files from the other arguments.

    The parser applies its arguments from left to right, a config at the place where it stands.
    With the configs in front, a flag beats a config wherever the two stand.
    """
    paths: list[str] = []
    rest: list[str] = []
    todo = iter(args)
    for arg in todo:
        flag, given, value = arg.partition("=")
        if flag not in _CONFIG_FLAGS:
            rest.append(arg)
            continue
        path = value if given else next(todo, "")
        if not Path(path).is_file():
            raise ConfigError(_no_file(path))
        paths.append(path)
    return paths, rest


def _task(command: str, paths: list[str], flags: list[str]) -> str | None:
    """The task that is named last, where flags come after configs."""
    task: Any = None
    for path in paths:
        config = _read(path)
        for part in (config, config.get(command)):
            if isinstance(part, dict) and "task" in part:
                task = part["task"]
    for position, flag in enumerate(flags):
        name, given, value = flag.partition("=")
        if name == "--task":
            task = value if given else next(iter(flags[position + 1 :]), "")
    if task in (None, "null"):
        return None
    if not isinstance(task, str):
        raise ConfigError(
            f"`task` must be the name of an installed task, got {task!r}. "
            f"Known: {', '.join(registry.names()) or 'none'}."
        )
    return task


def _read(path: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as err:
        raise ConfigError(f"Config {path!r} cannot be read as YAML: {err}") from err
    if not config:
        raise ConfigError(f"Config {path!r} is empty. Write settings in it, or leave it out.")
    if not isinstance(config, dict):
        raise ConfigError(
            f"Config {path!r} must hold settings as `key: value`, got {type(config).__name__}."
        )
    return config


def _no_file(path: str) -> str:
    if not path:
        return "`--config` needs a file: `--config configs/lp.yaml`."
    folder = Path(path).parent
    there = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, there, n=1)
    return f"Config file {path!r} does not exist (current folder: {str(Path.cwd())!r})." + (
        f" Did you mean {str(folder / close[0])!r}?" if close else ""
    )
