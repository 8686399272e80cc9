"""The operator G(z, x) and, with its input bound, the map z -> G(z, x) that solvers iterate."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit.errors import OperatorError
from lit_implicit.layout import AbstractLayout, Dense, Mask, PerSample, Real, select_samples


class AbstractOperator(nn.Module, ABC):
    """A learned operator G, its encoder, its start and its readout.

    The answer to an input x is `decode(z_star, c)` with `c = encode(x)` and
    `z_star = forward(z_star, c)`. A context `c` holds per-sample tensors only (a tensor, or a
    tuple, dict or dataclass of them); what all samples share is a buffer. One sample's output must
    not depend on its batch mates.
    """

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


class AbstractMap(ABC):
    """A map from states to states, with its layout: what a solver is given."""

    layout: AbstractLayout

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
    """

    operator: AbstractOperator
    c: Any
    layout: AbstractLayout

    def __call__(self, z: Real) -> Real:
        gz: Tensor = self.operator(z, self.c)
        if gz.shape != z.shape:
            raise OperatorError(
                f"`{type(self.operator).__name__}.forward` must keep the shape of its state: "
                f"expected {tuple(z.shape)}, got {tuple(gz.shape)}."
            )
        if gz.dtype != z.dtype:
            if not torch.is_autocast_enabled(z.device.type):
                raise OperatorError(
                    f"`{type(self.operator).__name__}.forward` must keep the dtype of its state: "
                    f"expected {z.dtype}, got {gz.dtype}. Cast in `forward`, or give `init_state` "
                    "the dtype of the parameters."
                )
            gz = gz.to(z.dtype)
        return gz

    def select(self, keep: Mask) -> "FixedPointMap":
        c = self.operator.select(self.c, keep)
        return FixedPointMap(self.operator, c, self.layout.sub(keep))

    def stop(self, z: Real, gz: Real) -> Tensor | None:
        return self.operator.stop(z, gz, self.c)
