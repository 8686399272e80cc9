"""The small dense algebra of steps, on tensors and on NumPy arrays: the same numbers from both.

On a CPU torch takes microseconds to find the code of each small operation, and its batched products
and solves of small systems take more. Where states are small that is what a solve waits for, and
steps take NumPy arrays over the same memory (`lit_implicit.solvers.host`). Elsewhere, on any
device, they take tensors, and none of these functions waits for it.
"""

import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from lit_implicit.layout import widest_dtype

State = Float[Any, "..."]
"""A state, or a stack of them: a tensor, or a NumPy array of rows `(..., n, d)`."""
Numbers = Float[Any, "..."]
"""Numbers of each sample, `(n,)` or more: a tensor, or a NumPy array."""
Flags = Bool[Any, "..."]
"""Samples or slots, marked: a tensor, or a NumPy array."""


class AbstractAlgebra(ABC):
    """What steps need beside operators and indices, which both kinds of arrays have."""

    first_room: int
    """States that a history has room for to begin with."""

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


class _Tensors(AbstractAlgebra):
    first_room = 4

    def dtype(self, values: State) -> torch.dtype:
        dtype: torch.dtype = values.dtype
        return dtype

    def constant(self, values: State) -> State:
        return values.detach()

    def flags(self, flags: Flags, state: State) -> Flags:
        return torch.as_tensor(flags, device=state.device)

    def room(self, state: State, size: int) -> State:
        return state.new_empty(size, *state.shape)

    def zeros(self, state: State, *shape: int) -> Numbers:
        return state.new_zeros(*shape, dtype=widest_dtype(state.device))

    def zeros_like(self, state: State) -> State:
        return torch.zeros_like(state)

    def write(self, slot: State, state: State) -> None:
        slot.copy_(state)

    def write_difference(self, slot: State, newer: State, older: State) -> None:
        try:
            torch.sub(newer, older, out=slot)
        except RuntimeError:  # forward-mode derivatives do not know `out`
            slot.copy_(newer - older)

    def diagonal(self, matrices: Numbers) -> Numbers:
        return matrices.diagonal(dim1=-2, dim2=-1)

    def fill(self, values: Numbers, where: Flags, number: float) -> None:
        values.masked_fill_(where, number)

    def where(self, flags: Flags, values: Numbers, number: float) -> Numbers:
        return torch.where(flags, values, number)

    def hypot(self, a: Numbers, b: Numbers) -> Numbers:
        return torch.hypot(a, b)

    def may_be_any(self, flags: Flags) -> bool:
        return torch.compiler.is_compiling() or flags.device.type != "cpu" or bool(flags.any())

    def weights(self, matrices: Numbers, rhs: Numbers) -> Numbers:
        solved, _ = torch.linalg.solve_ex(matrices, rhs.to(matrices.dtype)[..., None])
        return solved[..., 0]

    def sound(self, weights: Numbers) -> Numbers:
        # NaN or infinity times zero is NaN, for the whole sample.
        return (weights + (0 * weights).sum(-1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)


class _Arrays(AbstractAlgebra):
    """Its caller has silenced NumPy's warnings of numbers that are not finite."""

    first_room = sys.maxsize  # on a CPU, memory that was never written to does not exist

    def dtype(self, values: State) -> torch.dtype:
        return torch.float32 if values.dtype == np.float32 else torch.float64

    def constant(self, values: State) -> State:
        return values

    def flags(self, flags: Flags, state: State) -> Flags:
        return flags

    def room(self, state: State, size: int) -> State:
        return np.empty((size, *state.shape), state.dtype)

    def zeros(self, state: State, *shape: int) -> Numbers:
        return np.zeros(shape)

    def zeros_like(self, state: State) -> State:
        return np.zeros_like(state)

    def write(self, slot: State, state: State) -> None:
        slot[...] = state

    def write_difference(self, slot: State, newer: State, older: State) -> None:
        np.subtract(newer, older, out=slot)

    def diagonal(self, matrices: Numbers) -> Numbers:
        return np.einsum("nkk->nk", matrices)

    def fill(self, values: Numbers, where: Flags, number: float) -> None:
        np.copyto(values, number, where=where)

    def where(self, flags: Flags, values: Numbers, number: float) -> Numbers:
        return np.where(flags, values, number)

    def hypot(self, a: Numbers, b: Numbers) -> Numbers:
        return np.hypot(a, b)

    def may_be_any(self, flags: Flags) -> bool:
        return bool(flags.any())

    def weights(self, matrices: Numbers, rhs: Numbers) -> Numbers:
        try:
            return np.linalg.solve(matrices, rhs[..., None])[..., 0]
        except np.linalg.LinAlgError:  # it gives up all samples for one
            solved = TENSORS.weights(torch.from_numpy(matrices), torch.from_numpy(rhs))
            return solved.numpy()

    def sound(self, weights: Numbers) -> Numbers:
        if np.isfinite(weights.sum()):
            return weights
        return np.where(np.isfinite(weights).all(-1, keepdims=True), weights, 0.0)


TENSORS, ARRAYS = _Tensors(), _Arrays()
