"""Anderson acceleration: mix the last residuals so that the combined one is least, per sample."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Real, widest_dtype
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings

# A residual this many times the last one says that the mixed step went wrong: the sample's history
# is dropped, and it goes on from a plain step.
_RESTART_GROWTH = 2.0


@dataclass(frozen=True)
class Anderson(AbstractSolver):
    """Anderson acceleration (type II), sample by sample.

    Each step mixes the last `depth` iterates so that the mixed residual is least in the 2-norm. The
    least-squares problem is solved in difference form with normalised columns and a ridge relative
    to them, so that the iterates do not depend on the scale of the state. A sample whose residual
    doubles forgets its history and takes a plain step.

    Memory: `2 (depth - 1)` states.

    Args:
        depth: How many past residuals are mixed, at least 1; 1 is plain iteration.
        mixing: Share of the mixed residual that is added to the mixed iterate, in (0, 1].
        ridge: Ridge relative to the squared norm of a column; None means ten times the rounding
            unit of the state's dtype.
        rtol: Relative residual at which a sample stops (dimensionless).
        atol: Residual at which a sample stops (units of the state).
        max_iter: Most iterations; each costs one evaluation of G.

    Raises:
        ValueError: If `depth` is below 1, `mixing` outside (0, 1], `ridge` or a tolerance negative,
            or `max_iter` below 1.

    References:
        Walker and Ni (2011), SIAM J. Numer. Anal. 49(4), Algorithm AA, doi:10.1137/10078356X.
    """

    depth: int = 5
    mixing: float = 1.0
    _: KW_ONLY
    ridge: float | None = None
    rtol: float = 1e-4
    atol: float = 0.0
    max_iter: int = 50

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(
                f"`Anderson.depth` must be at least 1, got {self.depth}. "
                "Use `Picard` for plain fixed-point iteration."
            )
        if not 0 < self.mixing <= 1:
            raise ValueError(f"`Anderson.mixing` must lie in (0, 1], got {self.mixing}.")
        if self.ridge is not None and not self.ridge >= 0:
            raise ValueError(f"`Anderson.ridge` must be at least 0, got {self.ridge}.")
        check_settings("Anderson", self.rtol, self.atol, self.max_iter)

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        return _AndersonStepper(self, layout)


class _AndersonStepper(AbstractStepper):
    """Ring buffers of residual and step differences, and the Gram matrix of the former."""

    def __init__(self, settings: Anderson, layout: AbstractLayout) -> None:
        self.settings, self.layout = settings, layout
        self.size = settings.depth - 1
        self.count = 0  # differences seen so far
        self.previous: tuple[Real, Real, Tensor] | None = None  # iterate, residual, its norm

    def step(self, z: Real, gz: Real) -> Real:
        residual = gz - z
        norm = self.layout.norm(residual)
        plain = z + self.settings.mixing * residual if self.settings.mixing < 1 else gz
        if self.size and self.previous is not None:
            last_z, last_residual, last_norm = self.previous
            self._remember(residual - last_residual, z - last_z, norm > _RESTART_GROWTH * last_norm)
            filled = min(self.count, self.size)
            gamma = self._weights(residual, filled)
            plain = plain - self.layout.mix(gamma, self.steps[:filled])
        self.previous = (z, residual, norm)
        return plain

    def _remember(self, d_residual: Real, dz: Real, restart: Tensor) -> None:
        """Put the newest differences in the ring and bring the Gram matrix up to date."""
        step = dz + self.settings.mixing * d_residual
        slot = self.count % self.size
        if self.count == 0:
            self.residuals = d_residual.new_zeros(self.size, *d_residual.shape)
            self.steps = torch.zeros_like(self.residuals)
            self.valid = torch.zeros(self.size, self.layout.n, dtype=torch.bool, device=dz.device)
            norms = self.layout.dot(d_residual, d_residual)
            self.gram = norms.new_zeros(self.layout.n, self.size, self.size)
        self.valid[:, restart] = False
        self.valid[slot] = ~restart
        if torch.is_grad_enabled():  # unrolling: autograd forbids writing in place
            self.residuals = _replaced(self.residuals, slot, d_residual)
            self.steps = _replaced(self.steps, slot, step)
            rows = [self.layout.dot(self.residuals, r) for r in self.residuals]
            self.gram = torch.stack(rows).permute(2, 0, 1)
        else:
            self.residuals[slot], self.steps[slot] = d_residual, step
            row = self.layout.dot(self.residuals, d_residual).T
            self.gram[:, slot], self.gram[:, :, slot] = row, row
        self.count += 1

    def _weights(self, residual: Real, filled: int) -> Tensor:
        """Solve the small least-squares problem of each sample: `(filled, n)`, 0 where unused."""
        valid = self.valid[:filled].T
        wide = widest_dtype(residual.device)
        gram = self.gram[:, :filled, :filled].to(wide)
        rhs = self.layout.dot(self.residuals[:filled], residual).T.to(wide)
        diagonal = gram.diagonal(dim1=-2, dim2=-1)
        usable = valid & (diagonal > 0) & diagonal.isfinite()
        scale = torch.where(usable, diagonal, 1.0).rsqrt() * usable
        ridge = self.settings.ridge
        if ridge is None:
            ridge = 10 * torch.finfo(torch.promote_types(residual.dtype, torch.float32)).eps
        normalised = torch.where(
            usable[:, :, None] & usable[:, None, :], gram * scale[:, :, None] * scale[:, None], 0.0
        )
        eye = torch.eye(filled, dtype=gram.dtype, device=gram.device)
        system = normalised + eye * (ridge + (~usable)[:, :, None])
        rhs = torch.where(usable, rhs * scale, 0.0)
        gamma, _ = torch.linalg.solve_ex(system, rhs)
        gamma = torch.where(gamma.isfinite(), gamma * scale, 0.0)
        return gamma.T.to(residual.dtype)


def _replaced(buffer: Tensor, slot: int, value: Tensor) -> Tensor:
    return torch.cat([buffer[:slot], value[None], buffer[slot + 1 :]])
