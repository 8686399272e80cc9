"""Checks of the derivatives of an operator, against finite differences in float64."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit.errors import OperatorError
from lit_implicit.operator import AbstractOperator
from lit_implicit.probes import derivatives as ad
from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.operator_case import OperatorCase, random_like
from lit_implicit.testing.trees import floats_in

_STEP = 1e-6


class _Step(nn.Module):
    """One application of G from an input on: G(z, encode(x)) and its readout."""

    def __init__(self, operator: AbstractOperator, put: Any) -> None:
        super().__init__()
        self.operator, self.put = operator, put

    def forward(self, z: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        c = self.operator.encode(self.put(leaves))
        gz: Tensor = self.operator(z, c)
        return gz, *floats_in(self.operator.decode(gz, c)).values()


def derivative(case: OperatorCase) -> str | None:
    """A gradient of the answer reaches every trainable parameter, and is finite.

    A parameter that never gets a gradient is dead weight, and makes distributed training wait.
    """
    bound = case.bind(training=True)
    trained = {n: p for n, p in bound.operator.named_parameters() if p.requires_grad}
    if not trained:
        raise NotApplicableError("The operator has no parameters to train.")
    with torch.enable_grad():
        c = bound.operator.encode(bound.x)
        gz = bound.operator(bound.z, c)
        outputs = [t for t in floats_in(bound.operator.decode(gz, c)).values()] or [gz]
        total = sum((t.double() * random_like(t, 1).double()).sum() for t in outputs)
    assert isinstance(total, Tensor)
    if not total.requires_grad:
        raise BrokenError(
            "The answer carries no gradient at all. Take `detach`, `no_grad` and `item` out of "
            "`encode`, `forward` and `decode`."
        )
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    unused = [name for name, g in zip(trained, gradients, strict=True) if g is None]
    if unused:
        raise BrokenError(
            f"No gradient reaches {', '.join(unused)}. Use these parameters in `encode`, `forward` "
            "or `decode` (the start `init_state` has no gradient: a fixed point does not depend on "
            "it), freeze them by `requires_grad_(False)`, or remove them."
        )
    for name, gradient in zip(trained, gradients, strict=True):
        if gradient is not None and not gradient.isfinite().all():
            raise BrokenError(
                f"The gradient of {name} is not finite. Roots, norms and quotients need a small "
                "constant where they may meet zero."
            )
    zero = [n for n, g in zip(trained, gradients, strict=True) if g is not None and not g.any()]
    return f"zero on this input: {', '.join(zero)}" if zero else None


def gradcheck(case: OperatorCase) -> str:
    """Reverse-mode derivatives of G and decode are right, in z, in x and in the parameters.

    They are what `Implicit` solves its adjoint system with. Along random directions, in float64.
    """
    bound = case.wide()
    leaves, put = case.leaves(bound.x)
    trained = {n: p for n, p in bound.operator.named_parameters() if p.requires_grad}
    step = _Step(bound.operator, put)
    arguments = [t.detach().clone() for t in (bound.z, *leaves, *trained.values())]
    arguments = [t.requires_grad_() for t in arguments]
    n_leaves = len(leaves)

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        z, *rest = given
        weights = dict(zip((f"operator.{n}" for n in trained), rest[n_leaves:], strict=True))
        outputs: tuple[Tensor, ...] = torch.func.functional_call(
            step, weights, (z, *rest[:n_leaves])
        )
        return outputs

    names = ["z", *(f"x leaf {i}" for i in range(n_leaves)), *trained]
    with torch.enable_grad():
        _compare_gradients(function, arguments, names)
    return f"in z, {n_leaves} tensors of x and {len(trained)} parameters"


def _compare_gradients(function: Any, arguments: list[Tensor], names: list[str]) -> None:
    """Compare a product with the transposed Jacobian with a central difference, by argument.

    torch's own `gradcheck` does not say which argument is at fault, nor lets one be without a
    gradient.
    """
    outputs = function(*arguments)
    weights = [random_like(t, 2) for t in outputs]
    total = sum((t * w).sum() for t, w in zip(outputs, weights, strict=True))
    assert isinstance(total, Tensor)
    gradients: Sequence[Tensor | None] = [None] * len(arguments)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, arguments, allow_unused=True)
    for number, (name, argument) in enumerate(zip(names, arguments, strict=True)):
        gradient = gradients[number]
        direction = random_like(argument, 3 + number)
        by_graph = 0.0 if gradient is None else float((gradient.conj() * direction).sum().real)
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                moved = list(arguments)
                moved[number] = argument + sign * _step(argument) * direction
                ends.append([t.clone() for t in function(*moved)])
        # The difference first, then the sum: so rounding does not hide it.
        by_difference = sum(
            float(((plus - minus) * w).sum()) for plus, minus, w in zip(*ends, weights, strict=True)
        ) / (2 * _step(argument))
        size = sum(
            float(((plus - minus) * w).norm())
            for plus, minus, w in zip(*ends, weights, strict=True)
        ) / (2 * _step(argument))
        if not abs(by_graph - by_difference) <= 1e-4 * size + 1e-6:
            raise BrokenError(
                f"The derivative in {name} is wrong: {by_graph:.6g} by `backward`, "
                f"{by_difference:.6g} by central differences. Look for `detach`, `.data`, "
                "`no_grad`, a rounded or clipped value, or a custom `backward`."
            )


def _step(argument: Tensor) -> float:
    """Return the step of a central difference: a small part of the size of its argument."""
    size = float(argument.detach().abs().mean()) if argument.numel() else 1.0
    return _STEP * (size if 0 < size < float("inf") else 1.0)


def forward_mode(case: OperatorCase) -> None:
    """Forward-mode derivatives of G and decode exist, and are right, in z and in x.

    The Jacobian estimate of the Lipschitz curve carries them along the iterations. An operator
    without them is sound; it is skipped here, and that estimate will not run.
    """
    bound = case.wide()
    leaves, put = case.leaves(bound.x)
    step = _Step(bound.operator, put)
    arguments = [bound.z, *leaves]
    directions = [random_like(t, 5 + i) for i, t in enumerate(arguments)]
    directions = [_step(t) / _STEP * d for t, d in zip(arguments, directions, strict=True)]
    with torch.no_grad():
        try:
            with ad.forward_mode(bound.operator):
                duals = [ad.dual(t, d) for t, d in zip(arguments, directions, strict=True)]
                tangents = [ad.tangent(t) for t in step(*duals)]
        except OperatorError as err:
            if err.__cause__ is None:  # not about a missing formula: a contract is broken
                raise
            raise NotApplicableError(
                f"The Jacobian estimate of the Lipschitz curve will not run: {err}"
            ) from err
        plus, minus = (
            step(*(t + sign * _STEP * d for t, d in zip(arguments, directions, strict=True)))
            for sign in (1, -1)
        )
    for carried, high, low in zip(tangents, plus, minus, strict=True):
        difference = (high - low) / (2 * _STEP)
        if not (carried - difference).norm() <= 1e-4 * difference.norm() + 1e-6:
            raise BrokenError(
                f"The forward-mode derivative is wrong: of size {float(carried.norm()):.6g}, by "
                f"central differences {float(difference.norm()):.6g}. Look for `detach`, `.data` "
                "or a custom `jvp`."
            )
