"""Anderson acceleration: mix the last residuals so that the combined one is least, per sample."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Mask, Real
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.history import History

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
    """A history of differences of residuals and of plain steps, with the Gram matrix of the former.

    A new pair costs one product with all columns, a row of the Gram matrix. The right-hand side of
    the least-squares problem is computed anew: brought up to date by differences it would keep the
    rounding errors of larger residuals, which a fast convergence does not forgive.
    """

    def __init__(self, settings: Anderson, layout: AbstractLayout) -> None:
        self.settings, self.layout = settings, layout
        self.history: History | None = None
        self.previous: tuple[Real, Real, Tensor] | None = None  # plain step, residual, its norm

    def step(self, at: Evaluation) -> Real:
        mixing = self.settings.mixing
        plain = at.gz if mixing == 1 else at.z.add(at.residual, alpha=mixing)
        if self.settings.depth == 1:
            return plain
        z_next = plain
        if self.previous is not None:
            history = self._remember(at, plain, *self.previous)
            gamma = self._weights(history, at)
            z_next = self.layout.mix(-gamma, history.second[: history.filled], plain)
        self.previous = (plain, at.residual, at.residual_norm)
        return z_next

    def _remember(
        self, at: Evaluation, plain: Real, last_plain: Real, last: Real, last_norm: Tensor
    ) -> History:
        """Put the newest differences in the history and bring the Gram matrix up to date.

        Samples whose residual has grown after a mixed step forget all of it.
        """
        if self.history is None:
            self.history = History(self.settings.depth - 1, self.layout, at.residual)
        history = self.history
        restart = (at.residual_norm > _RESTART_GROWTH * last_norm) & history.valid.any(1)
        slot = history.push((at.residual, last), (plain, last_plain), restart)
        filled = history.filled
        first = history.first[:filled]
        if torch.is_grad_enabled():  # autograd forbids writing in place: compute all rows anew
            rows = torch.stack([self.layout.dot(first, state) for state in first])
            history.matrix = rows.permute(2, 0, 1).to(history.matrix.dtype)
        else:
            row = self.layout.dot(first, first[slot]).T
            history.matrix[:, slot, :filled], history.matrix[:, :filled, slot] = row, row
        return history

    def _weights(self, history: History, at: Evaluation) -> Tensor:
        """Solve the small least-squares problem of each sample: `(n, filled)`, 0 where unused."""
        dtype, filled = at.z.dtype, history.filled
        gram = history.matrix[:, :filled, :filled]
        rhs = self.layout.dot(history.first[:filled], at.residual).T.to(gram.dtype)
        squares = gram.diagonal(dim1=-2, dim2=-1)
        # At the rounding of G, differences are noise, and so would be their mixture and, unrolled,
        # its gradient: what is left is a plain step. To stay would leave no gradient of late steps.
        floor = (10 * torch.finfo(dtype).eps) * at.g_norm.to(gram.dtype)
        usable = history.valid[:, :filled] & (squares > floor.square()[:, None])
        usable = usable & (at.residual_norm > floor)[:, None]
        # Columns of norm 1, so that the ridge has no scale; one that is not used becomes zero.
        scale = torch.where(usable, squares, torch.inf).rsqrt()
        ridge = self.settings.ridge
        if ridge is None:
            ridge = 10 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        normalised = gram * scale[:, :, None] * scale[:, None]
        normalised.diagonal(dim1=-2, dim2=-1).fill_(1 + ridge)
        solution, _ = torch.linalg.solve_ex(normalised, rhs * scale)
        # NaN where a sample has failed, or its sums have overflowed: a plain step.
        return (solution * scale).nan_to_num(0.0, 0.0, 0.0).to(dtype)

    def select(self, keep: Mask) -> "_AndersonStepper":
        part = _AndersonStepper(self.settings, self.layout.sub(keep))
        part.history = None if self.history is None else self.history.select(keep)
        if self.previous is not None:
            plain, residual, norm = self.previous
            select = self.layout.select
            part.previous = (select(plain, keep), select(residual, keep), norm[keep])
        return part
