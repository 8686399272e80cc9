"""The operator G(z, x) and, with its input bound, the map z -> G(z, x) that solvers iterate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from lit_implicit.contract import call, check_image, check_reason
from lit_implicit.errors import OperatorError
from lit_implicit.layout import AbstractLayout, Dense, Mask, PerSample, Real, select_samples


class AbstractOperator(nn.Module, ABC):
    """A learned operator G, its encoder, its start and its readout.

    The answer to an input x is `decode(z_star, c)` with `c = encode(x)` and
    `z_star = forward(z_star, c)`. A context `c` holds per-sample tensors only (a tensor, or a
    tuple, dict or dataclass of them); what all samples share is a buffer. One sample's output must
    not depend on its batch mates.
    """

    stop_every: int = 1
    """Solvers ask `stop` at every so many iterations, and at the last; more than 1 if it costs."""

    def encode(self, x: Any) -> Any:
        """Embed the input, once per solve. Default: `x` itself."""
        return x

    @abstractmethod
    def init_state(self, c: Any, generator: torch.Generator | None = None) -> Tensor:
        """Return the initial iterate z0.

        Args:
            c: The encoded input.
            generator: Source of randomness for starts that are drawn; None means the default one.
        """

    @abstractmethod
    def forward(self, z: Tensor, c: Any) -> Tensor:
        """Apply G once: a state of the shape and dtype of `z`."""

    def decode(self, z: Tensor, c: Any) -> Any:
        """Map a state to the answer y. Default: the state itself."""
        return z

    def layout(self, z: Tensor, c: Any) -> AbstractLayout:
        """Say how the samples lie in a state. Default: `Dense`, one row a sample."""
        return Dense(len(z))

    def stop(self, z: Tensor, gz: Tensor, c: Any) -> Tensor | None:
        """Give a reason of the operator's own to stop, shape `(n,)`, or None (default)."""
        return None

    def select(self, c: Any, keep: Mask) -> Any:
        """Return the context of the samples in `keep`. Ragged operators define their own."""
        return select_samples(c, keep)


_STATEFUL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@contextmanager
def held_still(operator: AbstractOperator) -> Iterator[None]:
    """Keep G one and the same map for as long as it is iterated.

    Modules whose answer changes from call to call are refused: batch statistics tie the samples of
    a batch together and are updated at every iteration; a fresh dropout mask leaves no fixed point.
    Both are allowed in `encode` and `decode`. Spectral norms (torch's parametrization), which
    take a power step at each use while training, take one per solve instead.

    Raises:
        OperatorError: When a module that is refused is called in training mode.
    """

    def refuse(module: nn.Module, inputs: Any) -> None:
        raise OperatorError(
            f"`{type(operator).__name__}.forward` calls {type(module).__name__} in training "
            "mode: it answers differently at each iteration, so there is no fixed point. Use "
            "GroupNorm or InstanceNorm, freeze its statistics by `.eval()`, or draw the mask "
            "once in `encode`."
        )

    modules = list(operator.modules()) if operator.training else []
    hooks, norms = [], []
    try:
        for module in modules:
            # No hook where nothing is refused: compiled code would be compiled anew for each.
            if isinstance(module, _STATEFUL) and module.training and getattr(module, "p", 1.0) > 0:
                hooks.append(module.register_forward_pre_hook(refuse))
            for name, norm in _spectral_norms(module):
                with torch.no_grad():
                    getattr(module, name)  # one power step
                norms.append(norm.eval())
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in norms:
            norm.train()


def _spectral_norms(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the spectral norms in training of a module's own weights, with the weight's name."""
    if not parametrize.is_parametrized(module):
        return []
    return [
        (name, part)
        for name, chain in module.parametrizations.items()  # type: ignore[union-attr, operator]
        for part in chain
        if isinstance(part, parametrizations._SpectralNorm) and part.training
    ]


class AbstractMap(ABC):
    """A map from states to states, with its layout: what a solver is given."""

    layout: AbstractLayout
    can_select: bool = True
    """Whether `select` works, so that a solver may drop samples that have stopped."""

    @property
    def stop_every(self) -> int:
        """Iterations from one question to `stop` to the next."""
        return 1

    @abstractmethod
    def __call__(self, z: Real) -> Real:
        """Apply the map once."""

    @abstractmethod
    def select(self, keep: Mask) -> "AbstractMap":
        """Return the map for the samples in `keep` alone."""

    def stop(self, z: Real, gz: Real) -> PerSample | None:
        """Give a reason of the map's own to stop, shape `(n,)`, or None."""
        return None


@dataclass(frozen=True, eq=False)
class FixedPointMap(AbstractMap):
    """The map z -> G(z, x) for a given x.

    Args:
        operator: The operator G.
        c: The encoded input, `operator.encode(x)`.
        layout: How the samples lie in a state.
        apply: How `(z, c)` is mapped; None means by the operator itself. For compiled code.
    """

    operator: AbstractOperator
    c: Any
    layout: AbstractLayout
    apply: Callable[[Tensor, Any], Any] | None = None

    @property
    def stop_every(self) -> int:
        every = self.operator.stop_every
        if every < 1:
            raise OperatorError(
                f"`{type(self.operator).__name__}.stop_every` must be at least 1, got {every}."
            )
        return every

    def __call__(self, z: Real) -> Real:
        version = None if z.is_inference() else z._version
        if self.apply is None:
            gz = call(self.operator, "forward", z, self.c)
        else:
            gz = self.apply(z, self.c)
        if version is not None and z._version != version:
            raise OperatorError(
                f"`{type(self.operator).__name__}.forward` changed its state in place, so its "
                "residual cannot be known. Return a new tensor: `z.mul(a)`, not `z.mul_(a)`."
            )
        return check_image(self.operator, z, gz)

    def select(self, keep: Mask) -> "FixedPointMap":
        c = call(self.operator, "select", self.c, keep)
        return FixedPointMap(self.operator, c, self.layout.sub(keep), self.apply)

    def stop(self, z: Real, gz: Real) -> Tensor | None:
        operator = self.operator
        if type(operator).stop is AbstractOperator.stop and "stop" not in vars(operator):
            return None  # at once: it is asked in each iteration
        reason = call(operator, "stop", z, gz, self.c)
        return check_reason(operator, reason, self.layout.n)
