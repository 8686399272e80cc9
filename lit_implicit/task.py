"""What a plug-in says about itself: class paths as texts, so that listing tasks imports nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SHORT_NAME = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task: a data module, an objective, operators G and explicit baselines, under one name.

    A distribution registers a spec by an entry point in the group `lit_implicit.tasks`. The module
    that holds it must import neither torch nor anything heavy: it is loaded for every listing.

    Args:
        summary: One line for `lit-implicit tasks`.
        data: Class path of the `LightningDataModule`.
        objective: Class path of the `AbstractObjective`.
        operators: Short names and class paths of the operators; the first is the default.
        baselines: Short names and class paths of explicit networks, for comparison.
        install: The command that installs the task's own libraries.

    Raises:
        ValueError: If a field is of the wrong type, a class path is not of the form
            `package.module.Class`, a short name is none, or there is no operator.
    """

    summary: str
    data: str
    objective: str
    operators: Mapping[str, str]
    baselines: Mapping[str, str] = field(default_factory=dict)
    install: str = ""

    def __post_init__(self) -> None:
        # A spec is somebody else's text, and no type checker has seen it.
        for name in ("summary", "install"):
            value: Any = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(f"`TaskSpec.{name}` must be text, got {value!r}.")
        for name in ("operators", "baselines"):
            _check_names(f"TaskSpec.{name}", getattr(self, name))
        if not self.operators:
            raise ValueError("`TaskSpec.operators` is empty: name at least one operator.")
        for name, path in self.class_paths().items():
            _check_class_path(f"TaskSpec.{name}", path)

    @property
    def default_operator(self) -> str:
        """Class path of the operator that is used where none is named."""
        return next(iter(self.operators.values()))

    def class_paths(self) -> dict[str, str]:
        """All class paths by the field that names them, as `operators.gnn`."""
        paths = {"data": self.data, "objective": self.objective}
        paths |= {f"operators.{name}": path for name, path in self.operators.items()}
        paths |= {f"baselines.{name}": path for name, path in self.baselines.items()}
        return paths


def _check_names(what: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(
            f"`{what}` must map short names to class paths, as "
            f"{{'mlp': 'package.module.Class'}}, got {value!r}."
        )
    for name in value:
        if not isinstance(name, str) or not _SHORT_NAME.fullmatch(name):
            raise ValueError(
                f"`{what}` has the short name {name!r}: use letters, digits, '_' and '-', "
                "beginning with a letter."
            )


def _check_class_path(what: str, path: Any) -> None:
    if isinstance(path, type):
        raise ValueError(
            f"`{what}` must be the path of a class as text, "
            f"'{path.__module__}.{path.__qualname__}', got the class itself."
        )
    if not isinstance(path, str) or not _CLASS_PATH.fullmatch(path):
        raise ValueError(
            f"`{what}` must be a class path like 'package.module.Class', got {path!r}."
        )
