"""Anderson acceleration: mix the last residuals so that the combined one is least, per sample."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.history import History, relative_ridge
from lit_implicit.solvers.host import HostRows, algebra_of
from lit_implicit.solvers.type_one import TypeOneStepper

# A residual this many times the last one says that the mixed step went wrong: the sample's history
# is dropped, and it goes on from a plain step. Where that was plain itself, G expands, and to drop
# what the step told would mean plain steps for ever.
RESTART_GROWTH = 2.0


@dataclass(frozen=True)
class Anderson(AbstractSolver):
    """Anderson acceleration, sample by sample.

    Each step mixes the last `depth` iterates so that the mixed residual is least in the 2-norm. The
    least-squares problem is solved in difference form with a ridge relative to the squared norms of
    its columns, so that the iterates do not depend on the scale of the state. A sample whose
    residual more than doubles after a mixed step forgets its history and takes a plain step. At the
    rounding of G there is nothing to mix, and steps that are differentiated are plain: so
    `Unrolled(last=k)` differentiates k of them. Where G expands (|dG/dz| > 1), unrolled gradients
    grow with each such step: give `Unrolled` no more iterations than the solve needs, or take
    `Implicit`.

    Type I asks for a mixed residual that is orthogonal to the last steps instead of a least one: on
    smooth maps that bend, an evaluation or so fewer, on others more (docs/choosing_a_solver.md).
    `Unrolled` cannot differentiate its steps.

    Memory: `2 (depth - 1)` states.

    Args:
        depth: How many past residuals are mixed, at least 1; 1 is plain iteration.
        mixing: Share of the mixed residual that is added to the mixed iterate, in (0, 1].
        type: Which residual the weights ask for, "I" or "II".
        ridge: Ridge relative to the squared norm of a column; None means ten times the rounding
            unit of the state's dtype, or of float32 where that is smaller.
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
    type: Literal["I", "II"] = "II"
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
        if self.type not in ("I", "II"):
            raise ValueError(f'`Anderson.type` must be "I" or "II", got {self.type!r}.')
        check_settings("Anderson", self.rtol, self.atol, self.max_iter)

    @property
    def differentiable_steps(self) -> bool:
        return self.type == "II" or self.depth == 1

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        if self.type == "I" and self.depth > 1:
            return TypeOneStepper(self.depth, self.mixing, self.ridge, layout)
        return AndersonStepper(self, layout)


class AndersonStepper(AbstractStepper):
    """A history of differences of residuals and of plain steps, with the Gram matrix of the former.

    A new pair costs one product with all columns, a row of the Gram matrix. The right-hand side of
    the least-squares problem is computed anew: brought up to date by differences it would keep the
    rounding errors of larger residuals, which a fast convergence does not forgive.
    """

    def __init__(self, settings: Anderson, layout: AbstractLayout | HostRows) -> None:
        self.settings, self.layout, self.algebra = settings, layout, algebra_of(layout)
        self.history: History | None = None
        self.ridge, self.unit = 0.0, 0.0  # relative ones, once the dtype of the state is known
        # Plain step, residual, its norm.
        self.previous: tuple[State, State, Numbers] | None = None

    def on_host(self, rows: HostRows) -> AbstractStepper:
        return AndersonStepper(self.settings, rows)

    def step(self, at: Evaluation) -> State:
        mixing = self.settings.mixing
        plain = at.gz if mixing == 1 else self.layout.advance(at.z, at.residual, mixing)
        if self.settings.depth == 1:
            return plain
        z_next = plain
        if self.previous is not None:
            history = self._remember(at, plain, *self.previous)
            first, second, gram = history.filled
            if torch.is_grad_enabled():
                gram = self._tracked_gram(history, at)
            gamma = self.algebra.weights(gram, self.layout.dot(first, at.residual).T)
            z_next = self.layout.mix(self.algebra.sound(gamma), second, plain, -1)
        self.previous = (plain, at.residual, at.residual_norm)
        return z_next

    def _remember(
        self, at: Evaluation, plain: State, last_plain: State, last: State, last_norm: Numbers
    ) -> History:
        """Put the newest differences in the history and bring the Gram matrix up to date."""
        if self.history is None:
            self.history = History(self.settings.depth - 1, self.layout, at.residual)
            dtype = self.algebra.dtype(plain)
            self.ridge = relative_ridge(self.settings.ridge, dtype)
            self.unit = torch.finfo(dtype).eps
        history = self.history
        slot = history.push((at.residual, last), (plain, last_plain))
        first, _, gram = history.filled
        first = self.algebra.constant(first)
        row = self.layout.dot(first, first[slot])
        row[slot] = self._raised(row[slot], at.g_norm)
        row = row.T
        gram[:, slot], gram[:, :, slot] = row, row
        if history.count > 1:
            history.forget(at.residual_norm > RESTART_GROWTH * last_norm)
        return history

    def _raised(self, squares: Numbers, g_norm: Numbers) -> Numbers:
        """Return squared norms of columns with the ridge, relative to them and to the rounding.

        Where differences are no larger than the rounding of G, they are noise: the ridge halves
        their weights at least.
        """
        floor = g_norm * self.unit
        return squares * (1 + self.ridge) + floor * floor

    def _tracked_gram(self, history: History, at: Evaluation) -> Numbers:
        """Return the Gram matrix with its gradient.

        At the rounding of G nothing is mixed at all: the gradient of noise is no gradient.
        """
        first, _, untracked = history.filled
        gram = torch.stack([self.layout.dot(first, state) for state in first]).permute(2, 0, 1)
        squares = gram.diagonal(dim1=-2, dim2=-1)
        floor = (at.g_norm * (10 * self.unit))[:, None]
        noise = (squares <= floor.square()) | (at.residual_norm[:, None] <= floor)
        raised = self._raised(squares, at.g_norm[:, None]).to(untracked.dtype)
        diagonal = raised.masked_fill(history.excluded | noise, history.huge)
        return gram.to(diagonal.dtype).diagonal_scatter(diagonal, dim1=-2, dim2=-1)

    def select(self, keep: Flags) -> "AndersonStepper":
        part = AndersonStepper(self.settings, self.layout.sub(keep))
        part.history = None if self.history is None else self.history.select(keep)
        part.ridge, part.unit = self.ridge, self.unit
        if self.previous is not None:
            plain, residual, norm = self.previous
            select = self.layout.select
            part.previous = (select(plain, keep), select(residual, keep), norm[keep])
        return part
