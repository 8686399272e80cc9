"""Adjoints: exchangeable ways in which gradients pass an equilibrium."""

from lit_implicit.adjoints.base import AbstractAdjoint
from lit_implicit.adjoints.implicit import Implicit
from lit_implicit.adjoints.jacobian_free import JacobianFree
from lit_implicit.adjoints.unrolled import Unrolled

__all__ = ["AbstractAdjoint", "Implicit", "JacobianFree", "Unrolled"]
