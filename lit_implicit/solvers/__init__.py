"""Solvers: frozen settings, each with a `solve` that returns a `Solution`.

Fixed-point solvers take a map and a start, linear ones a product with a matrix and a right-hand
side.
"""

from lit_implicit.solvers.anderson import Anderson
from lit_implicit.solvers.auto import Auto
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper
from lit_implicit.solvers.broyden import Broyden
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.linear import GMRES, AbstractLinearSolver, Neumann
from lit_implicit.solvers.picard import Picard
from lit_implicit.solvers.solution import AdjointRecord, Solution, Status, relative_residual

__all__ = [
    "GMRES",
    "AbstractLinearSolver",
    "AbstractSolver",
    "AbstractStepper",
    "AdjointRecord",
    "Anderson",
    "Auto",
    "Broyden",
    "Evaluation",
    "Neumann",
    "Picard",
    "Solution",
    "Status",
    "relative_residual",
]
