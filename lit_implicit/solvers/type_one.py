"""The step of Anderson acceleration of type I: a secant method in the span of the last steps."""

import torch

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.base import AbstractStepper
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.history import History, relative_ridge
from lit_implicit.solvers.host import HostRows, algebra_of

# As for type II; its residuals need not fall at each step, so only a larger growth tells.
_RESTART_GROWTH = 10.0


class TypeOneStepper(AbstractStepper):
    """Differences D of residuals and S of iterates, with the matrix S'D.

    The mixed residual r - D gamma is orthogonal to S, where type II makes it least: it is Broyden's
    good method with several secant conditions at once, as type II is the bad one.

    Args:
        depth: How many past residuals are mixed, at least 2.
        mixing: Share of the mixed residual that is added to the mixed iterate.
        ridge: Ridge relative to the norms of the columns of D and S; None means that of `Anderson`.
        layout: How the samples lie in a state.

    References:
        Fang and Saad (2009), Numer. Linear Algebra Appl. 16(3), section 2.3, doi:10.1002/nla.617.
    """

    def __init__(
        self, depth: int, mixing: float, ridge: float | None, layout: AbstractLayout | HostRows
    ) -> None:
        self.depth, self.mixing, self.ridge, self.layout = depth, mixing, ridge, layout
        self.algebra = algebra_of(layout)
        self.history: History | None = None
        # Norms of the columns of D and S, shape (n, depth - 1) each.
        self.lengths: tuple[Numbers, Numbers] | None = None
        self.previous: tuple[State, State, Numbers] | None = None  # iterate, residual, its norm

    def on_host(self, rows: HostRows) -> AbstractStepper:
        return TypeOneStepper(self.depth, self.mixing, self.ridge, rows)

    def step(self, at: Evaluation) -> State:
        mixing = self.mixing
        z_next = at.gz if mixing == 1 else self.layout.advance(at.z, at.residual, mixing)
        if self.previous is not None:
            history, gamma = self._weights(at, *self.previous)
            d, s, _ = history.filled
            z_next = self.layout.mix(mixing * gamma, d, self.layout.mix(gamma, s, z_next, -1), -1)
        self.previous = (at.z, at.residual, at.residual_norm)
        return z_next

    def _weights(
        self, at: Evaluation, last_z: State, last: State, last_norm: Numbers
    ) -> tuple[History, Numbers]:
        """Take in the newest differences; return the history and gamma, shape `(n, filled)`."""
        layout, algebra, dtype = self.layout, self.algebra, self.algebra.dtype(at.z)
        if self.history is None or self.lengths is None:
            self.history = History(self.depth - 1, layout, at.gz)
            zeros = algebra.zeros(at.z, 2, layout.n, self.depth - 1)
            self.lengths = zeros[0], zeros[1]
        history, (of_d, of_s) = self.history, self.lengths
        slot = history.push((at.residual, last), (at.z, last_z))
        d, s, matrix = history.filled
        matrix[:, slot] = layout.dot(d, s[slot]).T
        matrix[:, :, slot] = layout.dot(s, d[slot]).T
        # At the rounding of G, differences are noise: longer columns get less weight.
        of_d[:, slot] = algebra.hypot(layout.norm(d[slot]), at.g_norm * torch.finfo(dtype).eps)
        length = layout.norm(s[slot])
        moved = length > 0
        of_s[:, slot] = algebra.where(moved, length, 1.0)
        if history.count > 1:
            history.forget(at.residual_norm > _RESTART_GROWTH * last_norm)
        history.drop_if_any(~moved)
        # S'D is negative definite where G contracts: with its sign turned, a ridge keeps it away
        # from singular ones.
        rows, columns = 1 / of_s[:, : len(s)], 1 / of_d[:, : len(d)]
        scaled = -matrix * rows[:, :, None] * columns[:, None]
        diagonal = algebra.diagonal(scaled)
        diagonal += relative_ridge(self.ridge, dtype)
        algebra.fill(diagonal, history.excluded, history.huge)
        gamma = algebra.weights(scaled, -layout.dot(s, at.residual).T * rows)
        return history, algebra.sound(gamma * columns)

    def select(self, keep: Flags) -> "TypeOneStepper":
        part = TypeOneStepper(self.depth, self.mixing, self.ridge, self.layout.sub(keep))
        if self.history is not None and self.lengths is not None:
            part.history = self.history.select(keep)
            part.lengths = self.lengths[0][keep], self.lengths[1][keep]
        if self.previous is not None:
            z, residual, norm = self.previous
            select = self.layout.select
            part.previous = (select(z, keep), select(residual, keep), norm[keep])
        return part
