"""States as NumPy arrays over the memory of tensors: what small solves on a CPU step with."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

from lit_implicit.errors import OperatorError
from lit_implicit.layout import AbstractLayout, Dense
from lit_implicit.solvers.algebras import ARRAYS, TENSORS
from lit_implicit.solvers.arrays import AbstractAlgebra, Flags, Numbers, State
from lit_implicit.solvers.evaluation import Evaluation

# Numbers in a state. A larger one is work that torch may share among threads.
_MOST_NUMBERS = 2**17
# Samples in a batch. NumPy calls BLAS or LAPACK anew for each. With 1 to 128 numbers a sample and
# one thread, Anderson took 0.5 to 0.8 of the processor time of tensors at 512 samples and 0.8 to
# 1.0 at 2048, Picard 0.9 to 1.3 from 256 on, and 2 to 3 at 4096 and more of one number.
_MOST_SAMPLES = 512
# Numbers in a sample, or in its history, from which on BLAS would share a product among threads of
# its own, which heed no setting of torch's and wait for each other where the cores are busy.
_LONG_PRODUCT = 9000


class HostRows:
    """What `Dense` is to tensors, for states as NumPy arrays `(n, d)`, and the way to and fro.

    No number is copied on that way.

    Args:
        n: Number of samples in the batch.
        shape: Of a sample's state.
        dtype: Of a state.
    """

    def __init__(self, n: int, shape: torch.Size, dtype: torch.dtype) -> None:
        self.n, self.shape, self.dtype = n, shape, dtype
        # The state that was looked at or made last, in both forms.
        self._known: tuple[Any, Any] = (None, None)

    def evaluation(self, z: Tensor, gz: Tensor) -> Evaluation:
        """Return what a stepper looks at, in rows.

        Raises:
            OperatorError: If G has changed the shape or the dtype of the state on the way.
        """
        if gz.dtype != self.dtype or gz.shape[1:] != self.shape or len(gz) != self.n:
            raise OperatorError(
                f"G returned {gz.dtype} of shape {tuple(gz.shape)}, but {self.dtype} of shape "
                f"{(self.n, *self.shape)} before. Return the shape and dtype of the state."
            )
        known, z_rows = self._known
        if z is not known:
            z_rows = self._rows(z)
        gz_rows = self._rows(gz)
        self._known = (gz, gz_rows)
        at = Evaluation(self, z_rows, gz_rows)
        residual = gz_rows - z_rows
        at.note(self.norm(residual), self.norm(gz_rows), residual)
        return at

    def tensor(self, rows: State) -> Tensor:
        """Return rows as a state."""
        if rows is not self._known[1]:
            self._known = (torch.from_numpy(rows).view(self.n, *self.shape), rows)
        state: Tensor = self._known[0]
        return state

    def _rows(self, z: Tensor) -> Any:
        rows = z.numpy(force=True)
        return rows if rows.ndim == 2 else rows.reshape(self.n, -1)

    def norm(self, z: State) -> Numbers:
        """Return the 2-norm of each sample's state, `(n,)`."""
        return np.sqrt(np.matmul(z[:, None], z[:, :, None])[:, 0, 0])

    def dot(self, a: State, b: State) -> Numbers:
        """Return the inner products of a stack `(k, n, d)` and a state: `(k, n)`."""
        if len(a) * b.shape[1] > _LONG_PRODUCT:
            return np.matmul(a[:, :, None], b[:, :, None])[:, :, 0, 0]
        return np.matmul(a.transpose(1, 0, 2), b[:, :, None])[:, :, 0].T

    def mix(self, weights: Numbers, states: State, base: State, sign: Literal[1, -1] = 1) -> State:
        """Return `base + sign * sum_k weights[i, k] * states[k]` for the state of each sample i."""
        weights = weights.astype(base.dtype, copy=False)
        if len(states) * base.shape[1] > _LONG_PRODUCT:
            w, stack, start = (torch.from_numpy(array) for array in (weights, states, base))
            return Dense(self.n).mix(w, stack, start, sign).numpy()
        mixed = np.matmul(weights[:, None], states.transpose(1, 0, 2))[:, 0]
        return base + mixed if sign == 1 else base - mixed

    def advance(self, z: State, direction: State, share: float) -> State:
        """Return `z + share * direction`."""
        return z + float(share) * direction  # a number of NumPy's would widen float32

    def where(self, mask: Flags, a: State, b: State) -> State:
        """Return the state that is `a` for the samples in `mask` and `b` for the others."""
        return np.where(mask[:, None], a, b)

    def select(self, z: State, keep: Flags) -> State:
        """Return the part of the state that belongs to the samples in `keep`."""
        return z[keep]

    def put(self, z: State, keep: Flags, part: State) -> State:
        """Return a copy of `z` in which the samples in `keep` are replaced by `part`."""
        copy = z.copy()
        copy[keep] = part
        return copy

    def sub(self, keep: Flags) -> "HostRows":
        """Return the layout of `select(z, keep)`."""
        return HostRows(int(keep.sum()), self.shape, self.dtype)


def host_rows(layout: AbstractLayout, z: Tensor, gz: Tensor) -> HostRows | None:
    """Return how a solve steps with NumPy arrays; None where it takes tensors.

    Args:
        layout: How the samples lie in a state.
        z: The first iterate.
        gz: Its image.
    """
    if type(layout) is not Dense or type(gz) is not Tensor or gz.device.type != "cpu":
        return None
    if gz.dtype not in (torch.float32, torch.float64) or not 0 < gz.numel() <= _MOST_NUMBERS:
        return None
    if (z.shape, z.dtype, layout.n) != (gz.shape, gz.dtype, len(gz)):
        return None
    if layout.n > _MOST_SAMPLES or gz.numel() > layout.n * _LONG_PRODUCT:
        return None
    # Who traces, counts or differentiates operations would not see those of NumPy.
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return None
    if _get_current_dispatch_mode() is not None or _has_tangent(z) or _has_tangent(gz):
        return None
    try:
        z.numpy(force=True), gz.numpy(force=True)
    except (RuntimeError, TypeError):  # `torch.func` shows the numbers, but not their memory
        return None
    return HostRows(layout.n, gz.shape[1:], gz.dtype)


def algebra_of(layout: AbstractLayout | HostRows) -> AbstractAlgebra:
    """Return the algebra that goes with a layout."""
    return ARRAYS if isinstance(layout, HostRows) else TENSORS


def _has_tangent(z: Tensor) -> bool:
    return forward_ad.unpack_dual(z).tangent is not None  # type: ignore[no-untyped-call]
