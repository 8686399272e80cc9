"""An objective with a batch and answers to it, for all checks of objectives."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.layout import Mask, select_samples
from lit_implicit.objective import AbstractObjective
from lit_implicit.testing.check import NotApplicableError
from lit_implicit.testing.operator_case import random_like
from lit_implicit.testing.trees import floats_in
from lit_implicit.tree import map_tensors


@dataclass(frozen=True, eq=False)
class ObjectiveCase:
    """What objective checks are given.

    Args:
        objective: The objective.
        batch: A batch of at least two samples; it is copied, never changed.
        y: An answer to it, as the operator's `decode` gives. None means that the target has the
            form of an answer.
    """

    objective: AbstractObjective
    batch: Any
    y: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, AbstractObjective):
            raise TypeError(
                f"`objective` must be an `AbstractObjective`, got {type(self.objective).__name__}. "
                "Derive its class from `lit_implicit.AbstractObjective`."
            )

    def __str__(self) -> str:
        return type(self.objective).__name__

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.objective.n_samples(self.batch)

    def copy(self) -> Any:
        """Return a copy of the batch that shares no memory with it."""
        return copy.deepcopy(self.batch)

    @property
    def target_is_answer(self) -> bool:
        """Whether the target has the form of an answer: one floating-point tensor of its shape."""
        target = self.objective.target(self.batch)
        if not isinstance(target, Tensor) or not target.is_floating_point():
            return False
        return self.y is None or (isinstance(self.y, Tensor) and self.y.shape == target.shape)

    def answer(self) -> Any:
        """Return an answer that is not right.

        Raises:
            NotApplicableError: If none was given and the target has not the form of one.
        """
        if self.y is not None:
            return map_tensors(lambda t: t.detach().clone(), self.y)
        if not self.target_is_answer:
            raise NotApplicableError(
                "The target has not the form of an answer: give `y=` to the check, an answer as "
                "the operator's `decode` returns it."
            )
        return self.near(self.objective.target(self.batch))

    def near(self, y: Any, seed: int = 0) -> Any:
        """Return an answer that is a tenth of its size off."""

        def move(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            size = float(tensor.double().square().mean().sqrt()) if tensor.numel() else 1.0
            return tensor.detach() + 0.1 * (size or 1.0) * random_like(tensor, seed)

        return map_tensors(move, y)

    def keep(self, keep: Mask) -> Any:
        """Return the batch of some samples.

        Raises:
            NotApplicableError: If the objective cannot select.
        """
        try:
            return self.objective.select(self.copy(), keep)
        except TypeError as err:
            raise NotApplicableError(f"`select` does not know these batches: {err}") from err

    def answers(self) -> tuple[Any, Callable[[Any, Mask], Any]]:
        """Return an answer, and what gives the answers of some samples (of their batch, a mask).

        Where the target has the form of an answer, they are made from it entry by entry, so that
        answers of any shape are selected as the objective selects targets.
        """
        if self.target_is_answer:

            def off(target: Tensor) -> Tensor:
                return 1.5 * target.detach() + 0.1

            return off(self.objective.target(self.batch)), lambda batch, _: off(
                self.objective.target(batch)
            )
        y = self.answer()
        tensors = floats_in(y).values()
        if not all(t.ndim and len(t) == self.n for t in tensors):
            raise NotApplicableError("How to take samples out of an answer is not known.")
        return y, lambda _, keep: select_samples(y, keep)

    def parts(self) -> list[Mask]:
        """Return masks of the first sample and of all others.

        Raises:
            NotApplicableError: If there is only one sample.
        """
        if self.n < 2:
            raise NotApplicableError("The batch holds one sample: give one with two or more.")
        values = self.objective.error(self.answers()[0], self.batch)
        number = torch.arange(self.n, device=values.device)
        return [number == 0, number > 0]
