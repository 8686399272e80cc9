"""Models and inputs in double precision: differences of nearby answers drown in float32."""

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.operator import AbstractOperator
from lit_implicit.tree import map_tensors


def widened(tensor: Tensor) -> Tensor:
    """Return a real or complex tensor in double precision; others, and Apple's, as they are."""
    if widest_dtype(tensor.device) != torch.float64:
        return tensor
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def double_input(x: Any) -> Any:
    """Return an input with its tensors in double precision."""
    return map_tensors(widened, x)


def double_model(equilibrium: Equilibrium) -> Equilibrium:
    """Return the model in double precision: a copy, or itself where nothing would change."""
    operator = equilibrium.operator
    if all(widened(tensor) is tensor for tensor in _tensors(operator)):
        return equilibrium
    with torch.inference_mode(False):
        wide = widen(copy.deepcopy(operator))
    return Equilibrium(wide, equilibrium.solver, equilibrium.adjoint)


def widen(operator: AbstractOperator) -> AbstractOperator:
    """Turn an operator to double precision, in place, and return it."""
    # Not `.double()`, which leaves complex weights as they are.
    wide: AbstractOperator = operator._apply(widened)  # type: ignore[no-untyped-call]
    return wide


class DoubleCopy:
    """A model in double precision, copied once as long as its weights stay what they are."""

    def __init__(self) -> None:
        self._state: Any = None
        self._copy: Equilibrium | None = None

    def of(self, equilibrium: Equilibrium) -> Equilibrium:
        """Return the copy of a model, a new one if the model or any of its tensors changed."""
        operator = equilibrium.operator
        state = [
            (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
            for tensor in _tensors(operator)
        ]
        if self._copy is None or self._state != (id(operator), operator.training, state):
            self._copy = double_model(equilibrium)
            self._state = (id(operator), operator.training, state)
        return self._copy

    def forget(self) -> None:
        """Drop the copy."""
        self._copy = None


def _tensors(operator: AbstractOperator) -> list[Tensor]:
    return list(chain(operator.parameters(), operator.buffers()))
