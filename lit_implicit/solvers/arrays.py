"""The small dense algebra of steps, on tensors and on NumPy arrays: the same numbers from both.

On a CPU torch takes microseconds to find the code of each small operation, and its batched products
and solves of small systems take more. Where states are small that is what a solve waits for, and
steps take NumPy arrays over the same memory (`lit_implicit.solvers.host`). Elsewhere, on any
device, they take tensors, and none of these functions waits for it.
"""

import sys
from typing import Any, TypeAlias

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


class Tensors:
    """The algebra on tensors."""

    first_room = 4
    """States that a stack has room for to begin with."""
    where = staticmethod(torch.where)
    hypot = staticmethod(torch.hypot)
    zeros_like = staticmethod(torch.zeros_like)

    @staticmethod
    def constant(values: State) -> State:
        """Return the same numbers, without a gradient."""
        return values.detach()

    @staticmethod
    def dtype(values: State) -> torch.dtype:
        """Return the dtype."""
        dtype: torch.dtype = values.dtype
        return dtype

    @staticmethod
    def room(state: State, size: int) -> State:
        """Return an empty stack of states, `(size, *state)`."""
        return state.new_empty(size, *state.shape)

    @staticmethod
    def flags(flags: Flags, state: State) -> Flags:
        """Return flags in NumPy as they are needed where a state lies."""
        return torch.as_tensor(flags, device=state.device)

    @staticmethod
    def room_for(states: list[State], size: int) -> State:
        """Return a stack of so many states, of which these are the first."""
        stack = states[0].new_empty(size, *states[0].shape)
        for slot, state in zip(stack, states, strict=False):
            slot.copy_(state)
        return stack

    @staticmethod
    def zeros(state: State, *shape: int) -> Numbers:
        """Return zeros of the widest dtype of a state's device."""
        return state.new_zeros(*shape, dtype=widest_dtype(state.device))

    @staticmethod
    def enlarged(stack: State, more: int) -> State:
        """Return a stack with room for more states, whose present ones are no more than that."""
        return torch.cat([stack, torch.empty_like(stack[:more])])

    @staticmethod
    def padded(matrices: Numbers, more: int) -> Numbers:
        """Return matrices `(n, k, k)` with zeros as more rows and columns."""
        return torch.nn.functional.pad(matrices, (0, more, 0, more))

    @staticmethod
    def write_difference(slot: State, newer: State, older: State) -> None:
        """Write `newer - older` to a slot of a stack."""
        try:
            torch.sub(newer, older, out=slot)
        except RuntimeError:  # forward-mode derivatives do not know `out`
            slot.copy_(newer - older)

    @staticmethod
    def diagonal(matrices: Numbers) -> Numbers:
        """Return the diagonals of matrices `(n, k, k)`, a view that can be written to: `(n, k)`."""
        return matrices.diagonal(dim1=-2, dim2=-1)

    @staticmethod
    def fill(values: Numbers, where: Flags, number: float) -> None:
        """Write a number where flags say so; they broadcast."""
        values.masked_fill_(where, number)

    @staticmethod
    def may_be_any(flags: Flags) -> bool:
        """Tell whether one is set, or that nobody knows: a GPU would have to answer."""
        return torch.compiler.is_compiling() or flags.device.type != "cpu" or bool(flags.any())

    @staticmethod
    def weights(matrices: Numbers, rhs: Numbers) -> Numbers:
        """Solve M w = rhs, `(n, k, k)` and `(n, k)`: not finite where M is singular."""
        solved, _ = torch.linalg.solve_ex(matrices, rhs.to(matrices.dtype)[..., None])
        return solved[..., 0]

    @staticmethod
    def sound(weights: Numbers) -> Numbers:
        """Return the weights of each sample, `(n, k)`, but zeros where one of them is not finite.

        A sample has failed there, or its sums have overflowed: it takes a plain step.
        """
        # NaN or infinity times zero is NaN, for the whole sample.
        return (weights + (0 * weights).sum(-1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)


class Host:
    """The same on NumPy arrays. The caller has silenced the warnings of numbers not finite."""

    first_room = sys.maxsize  # on a CPU, memory that was never written to does not exist
    where = staticmethod(np.where)
    hypot = staticmethod(np.hypot)
    zeros_like = staticmethod(np.zeros_like)

    @staticmethod
    def constant(values: State) -> State:
        return values

    @staticmethod
    def dtype(values: State) -> torch.dtype:
        return torch.float32 if values.dtype == np.float32 else torch.float64

    @staticmethod
    def room(state: State, size: int) -> State:
        return np.empty((size, *state.shape), state.dtype)

    @staticmethod
    def flags(flags: Flags, state: State) -> Flags:
        return flags

    @staticmethod
    def room_for(states: list[State], size: int) -> State:
        stack = np.empty((size, *states[0].shape), states[0].dtype)
        for slot, state in zip(stack, states, strict=False):
            slot[...] = state
        return stack

    @staticmethod
    def zeros(state: State, *shape: int) -> Numbers:
        return np.zeros(shape)

    @staticmethod
    def enlarged(stack: State, more: int) -> State:
        return np.concatenate([stack, np.empty_like(stack[:more])])

    @staticmethod
    def padded(matrices: Numbers, more: int) -> Numbers:
        return np.pad(matrices, ((0, 0), (0, more), (0, more)))

    @staticmethod
    def write_difference(slot: State, newer: State, older: State) -> None:
        np.subtract(newer, older, out=slot)

    @staticmethod
    def diagonal(matrices: Numbers) -> Numbers:
        return np.einsum("nkk->nk", matrices)

    @staticmethod
    def fill(values: Numbers, where: Flags, number: float) -> None:
        np.copyto(values, number, where=where)

    @staticmethod
    def may_be_any(flags: Flags) -> bool:
        return bool(flags.any())

    @staticmethod
    def weights(matrices: Numbers, rhs: Numbers) -> Numbers:
        try:
            return np.linalg.solve(matrices, rhs[..., None])[..., 0]
        except np.linalg.LinAlgError:  # it gives up all samples for one
            return Tensors.weights(torch.from_numpy(matrices), torch.as_tensor(rhs)).numpy()

    @staticmethod
    def sound(weights: Numbers) -> Numbers:
        if np.isfinite(weights.sum()):
            return weights
        return np.where(np.isfinite(weights).all(-1, keepdims=True), weights, 0.0)


Algebra: TypeAlias = type[Tensors] | type[Host]
