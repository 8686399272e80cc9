"""The source of plug-ins that are not there."""

SPEC = """
from lit_implicit.task import TaskSpec
task = TaskSpec(
    summary="About {name}.", data="{data}", objective="{objective}",
    operators={{"first": "{operator}"}}, install="pip install {module}",
)
"""


def spec_source(name, module, **paths):
    """The source of a module that holds a spec; its classes are the affine task's, or others."""
    kinds = {"data": "AffineData", "objective": "AffineObjective", "operator": "AffineOperator"}
    paths = {key: f"affine_task.{kind}" for key, kind in kinds.items()} | paths
    return SPEC.format(name=name, module=module, **paths)
