"""Whether the classes that a task names are of the kinds that the contracts ask for."""

from lit_implicit import registry
from lit_implicit.errors import LitImplicitError
from lit_implicit.task import TaskSpec


def class_problem(name: str, spec: TaskSpec) -> str:
    """Import the classes of a task; return what is wrong with them, or nothing.

    Args:
        name: Name of the task, for messages.
        spec: Its description.
    """
    from lightning.pytorch import LightningDataModule
    from torch import nn

    from lit_implicit.objective import AbstractObjective
    from lit_implicit.operator import AbstractOperator

    bases = {
        "data": LightningDataModule,
        "objective": AbstractObjective,
        "operators": AbstractOperator,
        "baselines": nn.Module,
    }
    try:
        classes = registry.load_classes(name, spec)
    except LitImplicitError as err:
        return str(err)
    for field, found in classes.items():
        base = bases[field.partition(".")[0]]
        if not issubclass(found, base):
            return f"`{field}`, {found.__name__}, must derive from {base.__name__}"
    return ""
