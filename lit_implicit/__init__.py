"""Train, measure and explain implicit models: networks whose output is z* = G(z*, x).

The public names below are stable. They are imported when first used: `import lit_implicit` alone
costs nothing, and the layer (`Equilibrium` and what it needs) costs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_implicit.adjoints import AbstractAdjoint, Implicit, JacobianFree, Unrolled
    from lit_implicit.callbacks import (
        AdjointSchedule,
        BestWeights,
        IterationBudget,
        ToleranceSchedule,
        WarmStart,
    )
    from lit_implicit.compilation import Compile
    from lit_implicit.equilibrium import Equilibrium
    from lit_implicit.layout import AbstractLayout, Dense, Ragged
    from lit_implicit.loading import load
    from lit_implicit.module import ExplicitLightningModule, ImplicitLightningModule
    from lit_implicit.objective import AbstractObjective, Mode, Perturbed, RolloutScore
    from lit_implicit.operator import AbstractOperator, FixedPointMap
    from lit_implicit.path_difference import PathDifference
    from lit_implicit.regularizers import AbstractRegularizer, JacobianNorm, jacobian_norm
    from lit_implicit.solvers import (
        GMRES,
        AbstractLinearSolver,
        AbstractSolver,
        Anderson,
        Auto,
        Broyden,
        Neumann,
        Picard,
        Solution,
        Status,
    )
    from lit_implicit.spectral import SpectralRadius
    from lit_implicit.task import TaskSpec

__version__ = "0.1.0"

_HOMES = {
    "adjoints": ("AbstractAdjoint", "Implicit", "JacobianFree", "Unrolled"),
    "callbacks": (
        "AdjointSchedule",
        "BestWeights",
        "IterationBudget",
        "ToleranceSchedule",
        "WarmStart",
    ),
    "compilation": ("Compile",),
    "equilibrium": ("Equilibrium",),
    "layout": ("AbstractLayout", "Dense", "Ragged"),
    "loading": ("load",),
    "module": ("ExplicitLightningModule", "ImplicitLightningModule"),
    "objective": ("AbstractObjective", "Mode", "Perturbed", "RolloutScore"),
    "operator": ("AbstractOperator", "FixedPointMap"),
    "path_difference": ("PathDifference",),
    "regularizers": ("AbstractRegularizer", "JacobianNorm", "jacobian_norm"),
    "solvers": (
        "AbstractLinearSolver",
        "AbstractSolver",
        "Anderson",
        "Auto",
        "Broyden",
        "GMRES",
        "Neumann",
        "Picard",
        "Solution",
        "Status",
    ),
    "spectral": ("SpectralRadius",),
    "task": ("TaskSpec",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "GMRES",
    "AbstractAdjoint",
    "AbstractLayout",
    "AbstractLinearSolver",
    "AbstractObjective",
    "AbstractOperator",
    "AbstractRegularizer",
    "AbstractSolver",
    "AdjointSchedule",
    "Anderson",
    "Auto",
    "BestWeights",
    "Broyden",
    "Compile",
    "Dense",
    "Equilibrium",
    "ExplicitLightningModule",
    "FixedPointMap",
    "Implicit",
    "ImplicitLightningModule",
    "IterationBudget",
    "JacobianFree",
    "JacobianNorm",
    "Mode",
    "Neumann",
    "PathDifference",
    "Perturbed",
    "Picard",
    "Ragged",
    "RolloutScore",
    "Solution",
    "SpectralRadius",
    "Status",
    "TaskSpec",
    "ToleranceSchedule",
    "Unrolled",
    "WarmStart",
    "jacobian_norm",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lit_implicit' has no attribute {name!r}")
    value = getattr(import_module(f"lit_implicit.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
