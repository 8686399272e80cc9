"""The small dense algebra of steps, on tensors and on NumPy arrays: equal to rounding.

On a CPU torch takes microseconds to find the code of each small operation, and its batched products
and solves of small systems take more. Where states are small that is what a solve waits for, and
steps take NumPy arrays over the same memory (`lit_implicit.solvers.host`). Elsewhere, on any
device, they take tensors, and none of these functions waits for it. Both forms of the algebra are
in `lit_implicit.solvers.algebras`.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float

State = Float[Any, "..."]
"""A state, or a stack of them: a tensor, or a NumPy array of rows `(..., n, d)`."""
Numbers = Float[Any, "..."]
"""Numbers of each sample, `(n,)` or more: a tensor, or a NumPy array."""
Flags = Bool[Any, "..."]
"""Samples or slots, marked: a tensor, or a NumPy array."""


class AbstractAlgebra(ABC):
    """What steps need beside operators and indices, which both kinds of arrays have."""

    @abstractmethod
    def dtype(self, values: State) -> torch.dtype:
        """Return the dtype, as torch calls it."""

    @abstractmethod
    def constant(self, values: State) -> State:
        """Return the same numbers, without a gradient."""

    @abstractmethod
    def flags(self, flags: Flags, state: State) -> Flags:
        """Return flags in NumPy as they are needed where a state lies."""

    @abstractmethod
    def room(self, state: State, size: int) -> State:
        """Return an empty stack of states like one, `(size, *state)`."""

    @abstractmethod
    def longer(self, stack: State, more: int) -> State:
        """Return a stack with room for more states."""

    @abstractmethod
    def padded(self, matrices: Numbers, more: int) -> Numbers:
        """Return matrices `(n, k, k)` with more rows and columns of zeros."""

    @abstractmethod
    def zeros(self, state: State, *shape: int) -> Numbers:
        """Return zeros of the widest dtype of a state's device."""

    @abstractmethod
    def zeros_like(self, state: State) -> State:
        """Return a state of zeros."""

    @abstractmethod
    def write(self, slot: State, state: State) -> None:
        """Write a state to a slot of a stack."""

    @abstractmethod
    def write_difference(self, slot: State, newer: State, older: State) -> None:
        """Write `newer - older` to a slot of a stack."""

    @abstractmethod
    def diagonal(self, matrices: Numbers) -> Numbers:
        """Return the diagonals of matrices `(n, k, k)`, as a view to write to: `(n, k)`."""

    @abstractmethod
    def fill(self, values: Numbers, where: Flags, number: float) -> None:
        """Write a number where flags, which broadcast, say so."""

    @abstractmethod
    def where(self, flags: Flags, values: Numbers, number: float) -> Numbers:
        """Return values where flags are set, and a number elsewhere."""

    @abstractmethod
    def hypot(self, a: Numbers, b: Numbers) -> Numbers:
        """Return the square roots of `a**2 + b**2`."""

    @abstractmethod
    def may_be_any(self, flags: Flags) -> bool:
        """Tell whether one is set, or that nobody knows, as a GPU would have to answer."""

    @abstractmethod
    def weights(self, matrices: Numbers, rhs: Numbers) -> Numbers:
        """Solve M w = rhs, `(n, k, k)` and `(n, k)`: not finite where M is singular."""

    @abstractmethod
    def sound(self, weights: Numbers) -> Numbers:
        """Return the weights of each sample, `(n, k)`, but zeros where one of them is not finite.

        A sample has failed there, or its sums have overflowed: it takes a plain step.
        """
