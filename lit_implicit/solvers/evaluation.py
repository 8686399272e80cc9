"""One evaluation of the map: what stopping, stepping and divergence tests all look at."""

from dataclasses import dataclass, field

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real
from lit_implicit.solvers.solution import relative_residual


@dataclass(eq=False)
class Evaluation:
    """An iterate and its image; what follows from them is computed once, when first asked for.

    `functools.cached_property` would do, were it not for its lock in Python 3.11, which
    `torch.compile` cannot trace.

    Args:
        layout: How the samples lie in a state.
        z: The iterate.
        gz: Its image G(z).
    """

    layout: AbstractLayout
    z: Real
    gz: Real
    _residual: Real | None = field(default=None, init=False, repr=False)
    _residual_norm: PerSample | None = field(default=None, init=False, repr=False)
    _g_norm: PerSample | None = field(default=None, init=False, repr=False)

    @property
    def residual(self) -> Real:
        """G(z) - z, with a gradient if the first to ask records one."""
        if self._residual is None:
            self._residual = self.gz - self.z
        return self._residual

    @property
    def residual_norm(self) -> PerSample:
        """2-norm of the residual of each sample, shape `(n,)`, without a gradient."""
        if self._residual_norm is None:
            self._residual_norm = self.layout.norm(self.residual.detach())
        return self._residual_norm

    @property
    def g_norm(self) -> PerSample:
        """2-norm of G(z) of each sample, shape `(n,)`, without a gradient."""
        if self._g_norm is None:
            self._g_norm = self.layout.norm(self.gz.detach())
        return self._g_norm

    def note(self, residual_norm: PerSample, g_norm: PerSample) -> None:
        """Take norms that were computed along with a step, shape `(n,)`."""
        self._residual_norm, self._g_norm = residual_norm, g_norm

    @property
    def relative_residual(self) -> PerSample:
        """|G(z) - z| / |G(z)| of each sample, shape `(n,)`, dimensionless."""
        return relative_residual(self.residual_norm, self.g_norm)

    def meets(self, rtol: float, atol: float) -> Mask:
        """Tell which samples have |G(z) - z| <= rtol |G(z)| + atol, shape `(n,)`."""
        return self.residual_norm <= rtol * self.g_norm + atol
