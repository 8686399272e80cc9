"""Anderson acceleration: mix the last residuals so that the combined one is least, per sample."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real, widest_dtype
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.history import History, solve_masked

# A residual this many times the last one says that the mixed step went wrong: the sample's history
# is dropped, and it goes on from a plain step. Where that was plain itself, G expands, and to drop
# what the step told would mean plain steps for ever.
_RESTART_GROWTH = 2.0


@dataclass(frozen=True)
class Anderson(AbstractSolver):
    """Anderson acceleration (type II), sample by sample.

    Each step mixes the last `depth` iterates so that the mixed residual is least in the 2-norm. The
    least-squares problem is solved in difference form with normalised columns and a ridge relative
    to them, so that the iterates do not depend on the scale of the state. A sample whose residual
    more than doubles after a mixed step forgets its history and takes a plain step. At the rounding
    of G there is nothing to mix, and steps are plain: so `Unrolled(last=k)` differentiates k of
    them. Where G expands (|dG/dz| > 1), unrolled gradients grow with each such step: give
    `Unrolled` no more iterations than the solve needs, or take `Implicit`.

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
    differentiable_steps: ClassVar[bool] = True

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
    """A history of residual and step differences, with the Gram matrix of the former."""

    def __init__(self, settings: Anderson, layout: AbstractLayout) -> None:
        self.settings, self.layout = settings, layout
        self.history: History | None = None
        self.previous: tuple[Real, Real, Tensor] | None = None  # iterate, residual, its norm

    def step(self, at: Evaluation) -> Real:
        mixing = self.settings.mixing
        z_next = at.z + mixing * at.residual if mixing < 1 else at.gz
        if self.settings.depth == 1:
            return z_next
        if self.previous is not None:
            last_z, last_residual, last_norm = self.previous
            grown = at.residual_norm > _RESTART_GROWTH * last_norm
            history = self._remember(at.z - last_z, at.residual - last_residual, grown)
            gamma = self._weights(history, at)
            z_next = z_next - self.layout.mix(gamma, history.second[: history.filled])
        self.previous = (at.z, at.residual, at.residual_norm)
        return z_next

    def _remember(self, dz: Real, d_residual: Real, grown: Mask) -> History:
        """Put the newest differences in the history and bring the Gram matrix up to date.

        Samples whose residual has `grown`, shape `(n,)`, after a mixed step forget all of it.
        """
        if self.history is None:
            self.history = History(self.settings.depth - 1, self.layout, d_residual)
        history = self.history
        restart = grown & history.valid.any(0)
        slot = history.push(d_residual, dz + self.settings.mixing * d_residual, restart)
        if torch.is_grad_enabled():  # autograd forbids writing in place: compute all rows anew
            rows = [self.layout.dot(history.first, state) for state in history.first]
            history.matrix = torch.stack(rows).permute(2, 0, 1)
        else:
            row = self.layout.dot(history.first, d_residual).T
            history.matrix[:, slot], history.matrix[:, :, slot] = row, row
        return history

    def _weights(self, history: History, at: Evaluation) -> Tensor:
        """Solve the small least-squares problem of each sample: `(filled, n)`, 0 where unused."""
        filled, residual = history.filled, at.residual
        wide = widest_dtype(residual.device)
        gram = history.matrix[:, :filled, :filled].to(wide)
        rhs = self.layout.dot(history.first[:filled], residual).T.to(wide)
        squares = gram.diagonal(dim1=-2, dim2=-1)
        # At the rounding of G, differences are noise, and so would be their mixture and, unrolled,
        # its gradient: what is left is a plain step. To stay would leave no gradient of late steps.
        floor = 10 * torch.finfo(residual.dtype).eps * at.g_norm.to(wide)
        usable = history.valid[:filled].T & (squares > floor[:, None] ** 2) & squares.isfinite()
        usable = usable & (at.residual_norm.to(wide) > floor)[:, None]
        scale = torch.where(usable, squares, 1.0).rsqrt()
        ridge = self.settings.ridge
        if ridge is None:
            ridge = 10 * torch.finfo(torch.promote_types(residual.dtype, torch.float32)).eps
        # Columns of norm 1: the diagonal, 1, becomes 1 + ridge.
        normalised = gram * scale[:, :, None] * scale[:, None]
        normalised.diagonal(dim1=-2, dim2=-1).fill_(1 + ridge)
        gamma = solve_masked(normalised, rhs * scale, usable) * scale
        return gamma.T.to(residual.dtype)

    def select(self, keep: Mask) -> "_AndersonStepper":
        part = _AndersonStepper(self.settings, self.layout.sub(keep))
        part.history = None if self.history is None else self.history.select(keep)
        if self.previous is not None:
            z, residual, norm = self.previous
            select = self.layout.select
            part.previous = (select(z, keep), select(residual, keep), norm[keep])
        return part
