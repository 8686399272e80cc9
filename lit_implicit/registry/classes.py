"""Import the classes that a spec names, and hold them to the kinds that the contracts ask for."""

import difflib
import inspect
from collections.abc import Mapping

from lit_implicit.errors import BrokenTaskError, MissingExtraError
from lit_implicit.registry.foreign import fetch, reason
from lit_implicit.registry.metadata import entries
from lit_implicit.task import TaskSpec

# As text: this module must not import torch before a task asks for it.
_BASES = {
    "data": "lightning.pytorch.LightningDataModule",
    "objective": "lit_implicit.AbstractObjective",
    "operators": "lit_implicit.AbstractOperator",
    "baselines": "torch.nn.Module",
}


def load_classes(name: str, spec: TaskSpec) -> Mapping[str, type]:
    """Import all classes that a spec names, so that their short names are known from then on.

    Args:
        name: Name of the task, for messages.
        spec: Its description.

    Returns:
        The classes, by the field of the spec that names them, as `operators.gnn`.

    Raises:
        MissingExtraError: If a library that is not the task's own is not installed.
        BrokenTaskError: If a class cannot be imported for any other reason, or is abstract or of
            the wrong kind.
    """
    owner = next((f" (from {e.package})" for e in entries() if e.name == name), "")
    classes = {}
    for field, path in spec.class_paths().items():
        what = f"`{field}` of task {name!r}{owner}, {path!r},"
        classes[field] = _import_class(path, what, spec.install)
        _check_kind(classes[field], _BASES[field.partition(".")[0]], what)
    return classes


def _import_class(path: str, what: str, install: str) -> type:
    module, _, class_name = path.rpartition(".")
    try:
        found = fetch(module, class_name)
    except ModuleNotFoundError as err:
        missing = (err.name or "").partition(".")[0]
        if missing in ("", path.partition(".")[0], "lit_implicit"):
            raise BrokenTaskError(f"{what} cannot be imported: {reason(err)}.") from err
        remedy = f"Install it with: {install}" if install else "Install it."
        raise MissingExtraError(
            f"{what} needs {missing!r}, which is not installed. {remedy}"
        ) from err
    except AttributeError as err:
        close = difflib.get_close_matches(class_name, dir(err.obj), n=1) if err.obj else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BrokenTaskError(f"{what} cannot be imported: {reason(err)}.{hint}") from err
    except Exception as err:
        raise BrokenTaskError(f"{what} cannot be imported: {reason(err)}.") from err
    if not isinstance(found, type):
        raise BrokenTaskError(f"{what} must be a class, got {type(found).__name__}.")
    return found


def _check_kind(found: type, base_path: str, what: str) -> None:
    module, _, name = base_path.rpartition(".")
    base = fetch(module, name)
    if not issubclass(found, base):
        own = ", ".join(kind.__name__ for kind in found.__bases__)
        raise BrokenTaskError(
            f"{what} must derive from {name} of `{module}`; it derives from {own}."
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise BrokenTaskError(f"{what} is abstract. Define in it: {missing}.")
