"""An operator with an input, bound afresh for each check so that none can harm the next."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, select_samples, widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import AbstractOperator
from lit_implicit.probes.double import widen
from lit_implicit.testing.check import NotApplicableError
from lit_implicit.testing.trees import mapped_floats, replace_floats, same
from lit_implicit.tree import map_tensors

_SAMPLES = 4
"""Most samples that are looked at one by one."""


@dataclass(eq=False)
class Bound:
    """A copy of an operator, with an encoded input and states to try it at.

    Args:
        operator: The copy.
        x: A copy of the input.
        c: The encoded input.
        z0: The initial iterate.
        layout: How the samples lie in the state.
    """

    operator: AbstractOperator
    x: Any
    c: Any
    z0: Tensor
    layout: AbstractLayout

    @cached_property
    def z(self) -> Tensor:
        """A generic state: one step from the start, and a tenth of its size off.

        At the start itself, often zero, too much vanishes and functions have their kinks.
        """
        with torch.no_grad():
            gz = self.operator(self.z0, self.c).to(self.z0.dtype)
        size = gz.double().square().mean().sqrt().item() if gz.numel() else 1.0
        size = size if 0 < size < float("inf") else 1.0
        base: Tensor = gz.nan_to_num(0.0, 0.0, 0.0)
        return base + 0.1 * size * random_like(gz)

    @torch.no_grad()
    def g(self, z: Tensor) -> Tensor:
        """Apply G once, without a graph."""
        gz: Tensor = self.operator(z, self.c)
        return gz


@dataclass(frozen=True, eq=False)
class OperatorCase:
    """What operator checks are given.

    Args:
        operator: The operator; it is copied, never changed.
        x: An input of at least two samples, in the form that `encode` takes.
        select_x: Keeps some samples of an input, `(x, keep) -> x`. None means that of tensors with
            the sample as first axis, in any nesting.
        objective: Says in which tensors of x derivatives are taken. None means all that are
            floating point.
    """

    operator: AbstractOperator
    x: Any
    select_x: Callable[[Any, Mask], Any] | None = None
    objective: AbstractObjective | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.operator, AbstractOperator):
            raise TypeError(
                f"`operator` must be an `AbstractOperator`, got {type(self.operator).__name__}. "
                "Derive its class from `lit_implicit.AbstractOperator`."
            )

    def __str__(self) -> str:
        return type(self.operator).__name__

    def bind(self, *, double: bool = False, training: bool = False, x: Any = None) -> Bound:
        """Copy the operator, encode the input (or another) and make a start, without gradients.

        Args:
            double: Cast the copy and the input to the most accurate dtype of the device.
            training: Put the copy into training mode.
            x: Another input.
        """
        operator = copy.deepcopy(self.operator).train(training)
        x = map_tensors(lambda t: t.detach().clone(), self.x if x is None else x)
        if double:
            operator, x = widen(operator), to_double(x)
        with torch.no_grad():
            c = operator.encode(x)
            z0 = operator.init_state(c, self.generator(c))
            return Bound(operator, x, c, z0, operator.layout(z0, c))

    def accurate(self) -> tuple[Bound, float]:
        """Bind in float64 where the operator can, and return the rounding that is excused."""
        try:
            bound = self.bind(double=True)
            if bound.g(bound.z0).dtype == bound.z0.dtype == torch.float64:
                return bound, 1e-9
        except Exception:  # what is wrong, `double_precision` tells
            pass
        return self.bind(), 1e-4

    def wide(self) -> Bound:
        """Bind in float64 for finite differences.

        Raises:
            NotApplicableError: If the operator cannot be cast.
        """
        bound, rounding = self.accurate()
        if rounding > 1e-9:
            raise NotApplicableError("Needs float64: see `double_precision`.")
        return bound

    def generator(self, c: Any, seed: int = 0) -> torch.Generator:
        """Return a seeded generator on the device of a context."""
        devices: list[torch.device] = []
        map_tensors(lambda t: devices.append(t.device), c)
        return torch.Generator(devices[0] if devices else "cpu").manual_seed(seed)

    def keep_x(self, x: Any, keep: Mask) -> Any:
        """Return the input of some samples.

        Raises:
            NotApplicableError: If it is not known how to select them.
        """
        if self.select_x is not None:
            return self.select_x(x, keep)
        try:
            return select_samples(x, keep)
        except TypeError as err:
            raise NotApplicableError(
                f"How to take samples out of an input of type {type(x).__name__} is not known: "
                "give `select_x=` to the check, a function of (x, keep)."
            ) from err

    def leaves(self, x: Any) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Any]]:
        """Return the tensors of x to differentiate in, and how to put others in their place."""
        if self.objective is not None:
            try:
                objective, leaves = self.objective, list(self.objective.leaves(x))
                return leaves, lambda values: objective.with_leaves(x, values)
            except TypeError:  # the task has not defined them
                pass
        return mapped_floats(x), lambda values: replace_floats(x, values)


def single_samples(layout: AbstractLayout, z: Tensor) -> list[Mask]:
    """Return masks that keep one sample each, of the first few.

    Raises:
        NotApplicableError: If there is only one sample.
    """
    if layout.n < 2:
        raise NotApplicableError("The input holds one sample: give one with two or more.")
    number = torch.arange(layout.n, device=z.device)
    return [number == i for i in range(min(layout.n, _SAMPLES))]


def random_like(z: Tensor, seed: int = 0) -> Tensor:
    """Return standard normal numbers, complex where z is, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if z.is_complex() else torch.float64
    return torch.randn(z.shape, generator=generator, dtype=dtype).to(z)


def to_double(x: Any) -> Any:
    """Cast the floating-point tensors of an input to float64, where the device has it."""
    return map_tensors(lambda t: t.to(widest_dtype(t.device)) if t.is_floating_point() else t, x)


def is_drawn(case: OperatorCase, bound: Bound) -> bool:
    """Tell whether starts are drawn: they depend on the generator."""
    starts = [bound.operator.init_state(bound.c, case.generator(bound.c, seed)) for seed in (0, 1)]
    return not same(*starts)
