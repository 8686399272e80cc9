"""The step of Anderson's method as a pure function: one graph with the norms that stopping needs.

It takes tensors alone, so that no count and no slice of a history asks for another graph. The
memory is a ring of full size from the start. An empty slot holds zeros, and the huge number that
excludes it stands on the diagonal of the matrix, as in `History`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Dense, Ragged
from lit_implicit.solvers.anderson import RESTART_GROWTH
from lit_implicit.solvers.history import huge_number, relative_ridge

StepFunction: TypeAlias = Callable[..., tuple[Any, ...]]


@cache
def anderson_step(mixing: float, ridge: float | None) -> StepFunction:
    """Return the step of Anderson's method, type II: the numbers of `AndersonStepper`.

    The function takes an iterate and its image; the last ones, with the norm of their residual; the
    history `(k, *state)` of differences of residuals and of plain steps, which it writes to; its
    Gram matrices `(n, k, k)` and who has just forgotten all, `(n,)`; the slot to write, `(1,)`; and
    the sample of each node where states are ragged, else None. It returns the next iterate, the
    norms of the residual and of the image, and the new matrices and mask.

    Args:
        mixing: Share of the mixed residual, in (0, 1].
        ridge: Ridge relative to the squared norm of a column; None as of `Anderson`.
    """

    def step(
        z: Tensor,
        gz: Tensor,
        last_z: Tensor,
        last_gz: Tensor,
        last_norm: Tensor,
        first: Tensor,
        second: Tensor,
        gram: Tensor,
        fresh: Tensor,
        slot: Tensor,
        index: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        n = last_norm.shape[0]
        layout = Dense(n) if index is None else Ragged(index, n)
        residual, last = gz - z, last_gz - last_z
        plain = gz if mixing == 1 else z.add(residual, alpha=mixing)
        last_plain = last_gz if mixing == 1 else last_z.add(last, alpha=mixing)
        residual_norm, g_norm = layout.norm(residual), layout.norm(gz)

        newest = residual - last
        first.index_copy_(0, slot, newest[None])
        second.index_copy_(0, slot, (plain - last_plain)[None])

        slots = torch.arange(first.shape[0], device=z.device)
        is_slot, is_diagonal = slots == slot, slots[:, None] == slots
        row = _dots(layout, first, newest)
        unit = torch.finfo(z.dtype).eps
        relative = relative_ridge(ridge, z.dtype)
        floor = g_norm * unit
        raised = torch.addcmul(row * (1 + relative), floor, floor)
        row = torch.where(is_slot[:, None], raised, row).T.to(gram.dtype)
        gram = torch.where(is_slot[:, None], row[:, None, :], gram)
        gram = torch.where(is_slot, row[:, :, None], gram)

        fresh = (residual_norm > RESTART_GROWTH * last_norm) & ~fresh
        huge = huge_number(gram.dtype)
        gram = torch.where(fresh[:, None, None] & is_diagonal, huge, gram)

        rhs = _dots(layout, first, residual).to(gram.dtype).T[..., None]
        gamma, _ = torch.linalg.solve_ex(gram, rhs)
        gamma = gamma[..., 0].nan_to_num(0.0, 0.0, 0.0)
        return layout.mix(gamma, second, plain, -1), residual_norm, g_norm, gram, fresh

    return step


def _dots(layout: AbstractLayout, states: Tensor, state: Tensor) -> Tensor:
    """Return the inner products of a history `(k, *state)` and a state, `(k, n)`.

    Slot by slot where sums are taken along rows: the compiler fuses all of them, and the norms too,
    into one pass. Otherwise it goes over the state once for each slot.
    """
    if isinstance(layout, Ragged):
        return layout.dot(states, state)
    return torch.stack([layout.dot(slot, state) for slot in states])
