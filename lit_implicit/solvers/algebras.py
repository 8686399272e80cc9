"""Both forms of the small dense algebra of steps: on tensors, and on NumPy arrays."""

import numpy as np
import torch

from lit_implicit.layout import widest_dtype
from lit_implicit.solvers.arrays import AbstractAlgebra, Flags, Numbers, State


class _Tensors(AbstractAlgebra):
    def dtype(self, values: State) -> torch.dtype:
        dtype: torch.dtype = values.dtype
        return dtype

    def constant(self, values: State) -> State:
        return values.detach()

    def flags(self, flags: Flags, state: State) -> Flags:
        return torch.as_tensor(flags, device=state.device)

    def room(self, state: State, size: int) -> State:
        return state.new_empty(size, *state.shape)

    def longer(self, stack: State, more: int) -> State:
        return torch.cat([stack, stack.new_empty(more, *stack.shape[1:])])

    def padded(self, matrices: Numbers, more: int) -> Numbers:
        return torch.nn.functional.pad(matrices, (0, more, 0, more))

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

    def dtype(self, values: State) -> torch.dtype:
        return torch.float32 if values.dtype == np.float32 else torch.float64

    def constant(self, values: State) -> State:
        return values

    def flags(self, flags: Flags, state: State) -> Flags:
        return flags

    def room(self, state: State, size: int) -> State:
        return np.empty((size, *state.shape), state.dtype)

    def longer(self, stack: State, more: int) -> State:
        return np.concatenate([stack, np.empty((more, *stack.shape[1:]), stack.dtype)])

    def padded(self, matrices: Numbers, more: int) -> Numbers:
        return np.pad(matrices, ((0, 0), (0, more), (0, more)))

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
        if not matrices.diagonal(0, 1, 2).all():
            # A row of zeros: most often that of a sample that has come to rest at zero.
            singular = ~matrices.any(-1).all(-1)
            identity = np.eye(matrices.shape[-1])
            weights = self._solved(np.where(singular[:, None, None], identity, matrices), rhs)
            return np.where(singular[:, None], np.nan, weights)
        return self._solved(matrices, rhs)

    def _solved(self, matrices: Numbers, rhs: Numbers) -> Numbers:
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
