"""One evaluation of the map: what stopping, stepping and divergence tests all look at."""

from dataclasses import dataclass, field
from typing import Any

from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.solution import relative_residual


@dataclass(eq=False)
class Evaluation:
    """An iterate and its image; what follows from them is computed once, when first asked for.

    `functools.cached_property` would do, were it not for its lock in Python 3.11, which
    `torch.compile` cannot trace.

    Args:
        layout: How the samples lie in a state: an `AbstractLayout`, or `HostRows` for arrays.
        z: The iterate.
        gz: Its image G(z).
    """

    layout: Any
    z: State
    gz: State
    _residual: State | None = field(default=None, init=False, repr=False)
    _residual_norm: Numbers | None = field(default=None, init=False, repr=False)
    _g_norm: Numbers | None = field(default=None, init=False, repr=False)

    @property
    def residual(self) -> State:
        """G(z) - z, with a gradient if the first to ask records one."""
        if self._residual is None:
            self._residual = self.gz - self.z
        return self._residual

    @property
    def residual_norm(self) -> Numbers:
        """2-norm of the residual of each sample, shape `(n,)`, without a gradient."""
        if self._residual_norm is None:
            self._residual_norm = self.layout.norm(self.residual.detach())
        return self._residual_norm

    @property
    def g_norm(self) -> Numbers:
        """2-norm of G(z) of each sample, shape `(n,)`, without a gradient."""
        if self._g_norm is None:
            self._g_norm = self.layout.norm(self.gz.detach())
        return self._g_norm

    def note(self, residual_norm: Numbers, g_norm: Numbers, residual: State | None = None) -> None:
        """Take what was computed elsewhere: norms, shape `(n,)`, and the residual."""
        self._residual_norm, self._g_norm = residual_norm, g_norm
        if residual is not None:
            self._residual = residual

    @property
    def relative_residual(self) -> Numbers:
        """|G(z) - z| / |G(z)| of each sample, shape `(n,)`, dimensionless."""
        return relative_residual(self.residual_norm, self.g_norm)

    def meets(self, rtol: float, atol: float) -> Flags:
        """Tell which samples have |G(z) - z| <= rtol |G(z)| + atol, shape `(n,)`."""
        return self.residual_norm <= rtol * self.g_norm + atol
