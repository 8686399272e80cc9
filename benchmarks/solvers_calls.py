"""Watch the calls of an operator, whoever makes them: count, end, or look at their states."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Calls:
    """How often G was called, on what share of the batch, and how often a gradient passed it.

    Args:
        n: Calls of G.
        work: The same, each weighted by the size of its state relative to the first.
        n_vjp: Products with the Jacobian of G (and its parameters), from behind.
        inside: Whether G is running.
        n_state: Numbers in the state of the last call.
    """

    n: int = 0
    work: float = 0.0
    n_vjp: int = 0
    inside: bool = False
    n_state: int = 0
    n_first: int = 0


@contextmanager
def counted(operator: nn.Module) -> Iterator[Calls]:
    """Count the calls of an operator, whoever makes them."""
    calls = Calls()

    def enter(module: nn.Module, args: Any) -> None:
        calls.inside, calls.n_state = True, args[0].numel()
        calls.n_first = calls.n_first or calls.n_state

    def leave(module: nn.Module, args: Any, gz: Tensor) -> None:
        calls.inside = False
        calls.n += 1
        calls.work += calls.n_state / calls.n_first
        if gz.requires_grad:
            gz.register_hook(passed)

    def passed(v: Tensor) -> None:
        calls.n_vjp += 1

    hooks = [operator.register_forward_pre_hook(enter), operator.register_forward_hook(leave)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


class Enough(Exception):
    """As many calls as were asked for have been seen."""


@contextmanager
def at_most(operator: nn.Module, n: int) -> Iterator[None]:
    """End what runs within, without an error, at the call of an operator that is one too many."""
    left = n

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Enough

    hook = operator.register_forward_pre_hook(enter)
    try:
        yield
    except Enough:
        pass
    finally:
        hook.remove()


@contextmanager
def finite(operator: nn.Module, every: int = 25) -> Iterator[None]:
    """Raise where the state that an operator is given is not finite, looked at now and then.

    Raises:
        ArithmeticError: If so: no solve that comes this far has an answer for all samples.
    """
    n = 0

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal n
        n += 1
        if n % every == 0 and not args[0].isfinite().all():
            raise ArithmeticError(f"the state is not finite at call {n} of G")

    hook = operator.register_forward_pre_hook(enter)
    try:
        yield
    finally:
        hook.remove()
