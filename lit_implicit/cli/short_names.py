"""A task's short names for its operators and baselines, replaced by their class paths."""

from collections.abc import Iterable, Iterator, Mapping

import yaml

from lit_implicit.task import TaskSpec


def in_flags(flags: Iterable[str], spec: TaskSpec) -> Iterator[str]:
    """Replace the short names in `--model.operator NAME` and `--model.network=NAME`."""
    short = {f"--model.{key}": names for key, names in _names(spec).items()}
    previous = ""
    for flag in flags:
        name, given, value = flag.partition("=")
        if given and name in short:
            yield f"{name}={short[name].get(value, value)}"
        else:
            yield short.get(previous, {}).get(flag, flag)
        previous = flag


def in_yaml(text: str, spec: TaskSpec, commands: Iterable[str]) -> str:
    """Replace the short names in a config: `model: {operator: NAME}`, or NAME as a `class_path`.

    Nothing else of the text is changed, so that the parser reads, and complains about, what the
    user wrote. A text that is no YAML is returned as it is.

    Args:
        text: The config.
        spec: The task.
        commands: Keys under which a config for several commands holds the settings of one.
    """
    try:
        root = yaml.compose(text)
    except yaml.YAMLError:
        return text
    found: dict[tuple[int, int], str] = {}
    parts = [root, *(part for command in commands for part in _values([root], command))]
    for model in _values(parts, "model"):
        for key, names in _names(spec).items():
            for value in _values([model, *_values([model], "init_args")], key):
                for name in [value, *_values([value], "class_path")]:
                    if isinstance(name, yaml.ScalarNode) and name.value in names:
                        found[name.start_mark.index, name.end_mark.index] = names[name.value]
    for start, end in sorted(found, reverse=True):  # from the end, as what follows moves
        text = text[:start] + found[start, end] + text[end:]
    return text


def _names(spec: TaskSpec) -> dict[str, Mapping[str, str]]:
    return {"operator": spec.operators, "network": spec.baselines}


def _values(nodes: Iterable[yaml.Node | None], key: str) -> Iterator[yaml.Node]:
    """The values under a key of those nodes that are mappings."""
    for node in nodes:
        for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if name.value == key:
                yield value
