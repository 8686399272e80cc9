"""Broyden's good method: a quasi-Newton iteration on z - G(z), with bounded memory, per sample."""

from dataclasses import KW_ONLY, dataclass

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.history import History
from lit_implicit.solvers.host import HostRows, algebra_of

# Broyden's residuals do not fall at each step: only one this many times the last says that the
# estimate went wrong.
_RESTART_GROWTH = 10.0


@dataclass(frozen=True)
class Broyden(AbstractSolver):
    """Broyden's good method on z - G(z), sample by sample, from the last `depth` steps.

    The Jacobian is estimated from I by one secant update for each remembered step, the oldest
    first, as L-BFGS does for Hessians; each iteration is a quasi-Newton step with that estimate and
    costs one evaluation of G. Steps are remembered at norm 1, so that the method does not depend on
    the scale of the state. A sample whose residual grows tenfold forgets its history and takes a
    plain step, z = G(z).

    Memory: `2 depth` states. The adjoint `Unrolled` cannot differentiate it.

    Args:
        depth: How many past steps are remembered, at least 1.
        rtol: Relative residual at which a sample stops (dimensionless).
        atol: Residual at which a sample stops (units of the state).
        max_iter: Most iterations; each costs one evaluation of G.

    Raises:
        ValueError: If `depth` or `max_iter` is below 1, or a tolerance negative.

    References:
        Broyden (1965), Math. Comp. 19, doi:10.1090/S0025-5718-1965-0198670-6; the compact form is
        Theorem 6.1 of Byrd, Nocedal and Schnabel (1994), doi:10.1007/BF01582063.
    """

    depth: int = 10
    _: KW_ONLY
    rtol: float = 1e-4
    atol: float = 0.0
    max_iter: int = 50

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(
                f"`Broyden.depth` must be at least 1, got {self.depth}. "
                "Use `Picard` for plain fixed-point iteration."
            )
        check_settings("Broyden", self.rtol, self.atol, self.max_iter)

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        return _BroydenStepper(self, layout)


class _BroydenStepper(AbstractStepper):
    """Steps s and differences d = G(z + s) - G(z), with their small matrix.

    With F = z - G(z), y = s - d its differences, S, D and Y their columns and L the part of S'S
    strictly below the diagonal (newer row, older column), Broyden's inverse Jacobian is
    I + D M^-1 S' with M = S'Y - L. Row by row: a new step adds the row -s'd_j, the column s_j'y
    and the corner s'y, whatever the order of the slots.
    """

    def __init__(self, settings: Broyden, layout: AbstractLayout | HostRows) -> None:
        self.settings, self.layout, self.algebra = settings, layout, algebra_of(layout)
        self.history: History | None = None
        self.lengths: Numbers | None = None  # |s| of each slot, shape (n, depth)
        # z, G(z), residual, its norm.
        self.previous: tuple[State, State, State, Numbers] | None = None

    def on_host(self, rows: HostRows) -> AbstractStepper:
        return _BroydenStepper(self.settings, rows)

    def step(self, at: Evaluation) -> State:
        z_next = at.gz
        if self.previous is not None:
            history, lengths = self._remember(at, *self.previous)
            weights = self._weights(history, lengths, at.residual)
            z_next = self.layout.mix(weights, history.filled[1], at.gz)
        self.previous = (at.z, at.gz, at.residual, at.residual_norm)
        return z_next

    def _remember(
        self, at: Evaluation, last_z: State, last_gz: State, last: State, last_norm: Numbers
    ) -> tuple[History, Numbers]:
        """Take in the newest step: bring the small matrix and the lengths up to date."""
        layout = self.layout
        if self.history is None or self.lengths is None:
            self.history = History(self.settings.depth, layout, at.gz)
            self.lengths = self.algebra.zeros(at.gz, layout.n, self.settings.depth)
        history, lengths = self.history, self.lengths
        slot = history.push((at.z, last_z), (at.gz, last_gz))
        first, second, matrix = history.filled
        s = first[slot]
        length = layout.norm(s)
        moved = length > 0
        lengths[:, slot] = self.algebra.where(moved, length, 1.0)
        matrix[:, slot] = -layout.dot(second, s).T
        matrix[:, :, slot] = layout.dot(first, last - at.residual).T
        if history.count > 1:
            history.forget(at.residual_norm > _RESTART_GROWTH * last_norm)
        history.drop_if_any(~moved)
        return history, lengths

    def _weights(self, history: History, lengths: Numbers, residual: State) -> Numbers:
        """Solve M w = -S'F for each sample: `(n, filled)`, 0 where unused."""
        first, _, matrix = history.filled
        # Steps of norm 1, so that nothing depends on the scale of the state.
        scale = 1 / lengths[:, : len(first)]
        rhs = self.layout.dot(first, residual).T * scale
        scaled = matrix * scale[:, :, None] * scale[:, None]
        self.algebra.fill(self.algebra.diagonal(scaled), history.excluded, history.huge)
        return self.algebra.sound(self.algebra.weights(scaled, rhs) * scale)

    def select(self, keep: Flags) -> "_BroydenStepper":
        part = _BroydenStepper(self.settings, self.layout.sub(keep))
        part.history = None if self.history is None else self.history.select(keep)
        part.lengths = None if self.lengths is None else self.lengths[keep]
        if self.previous is not None:
            *states, norm = self.previous
            z, gz, residual = (self.layout.select(state, keep) for state in states)
            part.previous = (z, gz, residual, norm[keep])
        return part
