"""Forward- and reverse-mode derivatives of trees of tensors, and the modes they need."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lit_implicit.errors import OperatorError
from lit_implicit.tree import map_tensors


@contextmanager
def outside_inference() -> Iterator[None]:
    """Leave inference mode, whose tensors can carry no derivative, and record none unasked."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def forward_mode(operator: nn.Module) -> Iterator[None]:
    """Let tensors carry derivatives forward.

    Raises:
        OperatorError: If what runs inside uses a function without a forward-mode derivative.
    """
    try:
        with forward_ad.dual_level():
            yield
    except (NotImplementedError, RuntimeError) as err:
        reason = " ".join(str(err).split())
        if not any(word in reason for word in ("forward AD", "forward-mode", "jvp")):
            raise
        raise OperatorError(
            f"`{type(operator).__name__}` has no forward-mode derivative: "
            f"{reason} Give the function one (a `jvp`, in an autograd Function), or leave out "
            "the estimator `jacobian`."
        ) from err


def dual(tensor: Tensor, direction: Tensor) -> Tensor:
    """Return a tensor that carries a derivative."""
    with warnings.catch_warnings():
        # The first call imports a part of torch that complains about another.
        warnings.simplefilter("ignore", FutureWarning)
        made: Tensor = forward_ad.make_dual(tensor, direction)  # type: ignore[no-untyped-call]
    return made


def primal(y: Tensor) -> Tensor:
    """Return a tensor without the derivative that it carries."""
    value: Tensor = forward_ad.unpack_dual(y).primal  # type: ignore[no-untyped-call]
    return value


def tangent(y: Tensor) -> Tensor:
    """Return the derivative that a tensor carries; zero where it depends on no leaf."""
    value, derivative = forward_ad.unpack_dual(y)  # type: ignore[no-untyped-call]
    return torch.zeros_like(value) if derivative is None else derivative


def fresh(tensor: Tensor) -> Tensor:
    """Return a tensor cut from its graph, as a leaf if it can carry derivatives."""
    return tensor.detach().requires_grad_() if _is_real(tensor) else tensor


def real_tensors(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree that can carry derivatives, real or complex, in its order."""
    found: list[Tensor] = []
    map_tensors(lambda tensor: found.append(tensor) if _is_real(tensor) else None, tree)
    return found


def gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], v: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return the gradients of v . outputs; zeros for inputs that play no part."""
    weights = v or [torch.ones_like(out) for out in outputs]
    tracked = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    if not tracked:
        return [torch.zeros_like(tensor) for tensor in inputs]
    some_outputs, some_weights = zip(*tracked, strict=True)
    return list(
        torch.autograd.grad(
            some_outputs, list(inputs), some_weights, allow_unused=True, materialize_grads=True
        )
    )


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
