"""Linear solvers: frozen settings, each with `solve(matvec, rhs, layout) -> Solution`."""

from lit_implicit.solvers.linear.base import AbstractLinearSolver, Matvec
from lit_implicit.solvers.linear.gmres import GMRES
from lit_implicit.solvers.linear.neumann import Neumann

__all__ = ["GMRES", "AbstractLinearSolver", "Matvec", "Neumann"]
