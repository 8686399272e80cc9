"""One evaluation of the map: what stopping, stepping and divergence tests all look at."""

from dataclasses import dataclass
from functools import cached_property

from lit_implicit.layout import AbstractLayout, Mask, PerSample, Real
from lit_implicit.solvers.solution import relative_residual


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An iterate and its image; what follows from them is computed once, when first asked for.

    Args:
        layout: How the samples lie in a state.
        z: The iterate.
        gz: Its image G(z).
    """

    layout: AbstractLayout
    z: Real
    gz: Real

    @cached_property
    def residual(self) -> Real:
        """G(z) - z, with a gradient if the first to ask records one."""
        return self.gz - self.z

    @cached_property
    def residual_norm(self) -> PerSample:
        """2-norm of the residual of each sample, shape `(n,)`, without a gradient."""
        return self.layout.norm(self.residual.detach())

    @cached_property
    def g_norm(self) -> PerSample:
        """2-norm of G(z) of each sample, shape `(n,)`, without a gradient."""
        return self.layout.norm(self.gz.detach())

    @cached_property
    def relative_residual(self) -> PerSample:
        """|G(z) - z| / |G(z)| of each sample, shape `(n,)`, dimensionless."""
        return relative_residual(self.residual_norm, self.g_norm)

    def meets(self, rtol: float, atol: float) -> Mask:
        """Tell which samples have |G(z) - z| <= rtol |G(z)| + atol, shape `(n,)`."""
        return self.residual_norm <= rtol * self.g_norm + atol
