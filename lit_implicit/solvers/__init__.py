"""Fixed-point solvers: frozen settings, each with `solve(g, z0) -> Solution`."""

from lit_implicit.solvers.anderson import Anderson
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper
from lit_implicit.solvers.broyden import Broyden
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.picard import Picard
from lit_implicit.solvers.solution import AdjointRecord, Solution, Status, relative_residual

__all__ = [
    "AbstractSolver",
    "AbstractStepper",
    "AdjointRecord",
    "Anderson",
    "Broyden",
    "Evaluation",
    "Picard",
    "Solution",
    "Status",
    "relative_residual",
]
