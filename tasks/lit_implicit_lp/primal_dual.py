"""A primal-dual solver of linear programs as an operator: every fixed point is an optimal pair."""

from typing import Literal

import torch
from torch import Tensor, nn

from lit_implicit.layout import Ragged
from lit_implicit.operator import AbstractOperator
from lit_implicit_lp.certificate import LPVerdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.half_step import (
    LearnedHalf,
    learned_step,
    metric_norm,
    plain_step,
    projected_duals,
)
from lit_implicit_lp.iterate import Iterate, averaged, trust_at
from lit_implicit_lp.primal_dual_context import GivenPrograms, PrimalDualContext, Programs
from lit_implicit_lp.solution import LPSolution
from lit_implicit_lp.step_sizes import StepSizes
from lit_implicit_lp.units import Units

_MARGIN = 0.99
"""Single precision measures a residual of 1e-4 to better than the remaining percent."""


class LPPrimalDual(AbstractOperator):
    """Iterate primal-dual steps whose sizes, momentum and corrections may be learned.

    The state has a row per variable, then one per constraint: the value (a variable, or the
    multiplier of a constraint) in units in which both are of order one, the last step, and, where
    steps look at the state, a fade and a running mean. One application is two projected primal-dual
    steps, that is four sweeps with A or its transpose, which carry learned messages along.

    - `steps="fixed"`: PDHG with diagonal preconditioning; there is nothing to learn.
    - `steps="data"`: the preconditioner, the primal weight and the over-relaxation are learned
      functions of the data, within what keeps G nonexpansive in the metric of its steps
      (`metric_norm`): the residual never rises.
    - `steps="state"`: factors of the steps, momentum and corrections are decided anew at each step.
      They are bounded, and fade: the fade f of the state shrinks by `decay` at each application,
      and all that is decided is multiplied by the trust `1 - (1 - f)^3`. So the iteration ends as
      that of `data`, and a state is fixed only if it is an optimal pair, at rest, with fade 0.
      As trust goes, the answer goes over from the iterate to a running mean, in which the k-th
      iterate has a weight in proportion to k^3: iterates of PDHG circle around some optima for
      long.

    The answer is an `LPSolution`: duals and last steps come with it.

    Args:
        steps: What steps depend on.
        width: Hidden features of all networks, at least 1.
        embedding: Features of an embedded node, at least 1.
        messages: Learned features that travel with the values, at least 1 (`steps="state"`).
        decay: Factor of the fade per application, in (0, 1).
        state_gradient: Whether training differentiates what the rules see of the state too. False
            leaves it out, as is usual in learning to optimize: gradients through many steps stay
            small, and training is faster. Evaluation always has exact derivatives.
        scaling_rounds: Rounds of Ruiz scaling before all else, and one of Pock and Chambolle's
            after them; 0 leaves A as it is. Programs whose entries differ by orders of magnitude
            want 10.
        tolerance: A solve stops where the relative KKT residual is at most this (the whole of it
            for whoever measures again, in double precision), or where the program is proved
            infeasible or unbounded; None: the solver's tolerances alone count, and those look at
            steps, which are small long before an answer is good.
        stop_every: Certificates are looked at at every so many iterations, at least 1: they cost
            two sweeps.

    Raises:
        ValueError: If an argument is out of range.

    References:
        Chambolle and Pock (2011), doi:10.1007/s10851-010-0251-1; Condat (2013),
        doi:10.1007/s10957-012-0245-9 (relaxation); Applegate et al. (2021), arXiv:2106.04756
        (linear programs); arXiv:2510.03638 (implicit models).
    """

    def __init__(
        self,
        steps: Literal["fixed", "data", "state"] = "state",
        width: int = 32,
        embedding: int = 16,
        messages: int = 8,
        decay: float = 0.99,
        state_gradient: bool = True,
        scaling_rounds: int = 0,
        tolerance: float | None = 1e-4,
        stop_every: int = 4,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "embedding": embedding, "messages": messages}
        _check(steps, {**sizes, "stop_every": stop_every}, decay, scaling_rounds, tolerance)
        self.decay, self.state_gradient = decay, state_gradient
        self.scaling_rounds, self.tolerance = scaling_rounds, tolerance
        self.stop_every = stop_every
        self.step_sizes = StepSizes(0 if steps == "fixed" else embedding, width)
        self.halves = nn.ModuleList(
            LearnedHalf(messages, embedding, width) for _ in range(2 if steps == "state" else 0)
        )
        self.relaxation_logit = nn.Parameter(torch.zeros(())) if steps != "fixed" else None

    @property
    def relaxation(self) -> Tensor | float:
        """Over-relaxation of a step, in (1, 1.95)."""
        if self.relaxation_logit is None:
            return 1.5
        return 1 + 0.95 * self.relaxation_logit.sigmoid()

    def encode(self, x: LPFeatures) -> PrimalDualContext:
        """Take the programs to their units; embed them and give each node its step."""
        dtype = x.c.dtype
        if self.relaxation_logit is not None:
            dtype = self.relaxation_logit.dtype
        units = Units.of(x, self.scaling_rounds, dtype)
        matrix = units.features.matrix()
        tau, sigma, variables, constraints = self.step_sizes(units.features, matrix)
        programs = Programs(units.features, matrix, tau, sigma, variables, constraints)
        given = None
        if self.tolerance is not None:
            same = not self.scaling_rounds and x.coefficients.dtype == dtype
            given = GivenPrograms.of(x, matrix if same else x.matrix())
        return PrimalDualContext(programs, units.primal, units.dual, given)

    def init_state(self, c: PrimalDualContext, generator: torch.Generator | None = None) -> Tensor:
        """Start from 0, clipped to the bounds: shape `(n_variables + n_constraints, 2 or 4)`."""
        p = c.programs
        y = torch.zeros_like(p.tau).clamp(p.x.lower, p.x.upper)
        values = torch.cat([y, torch.zeros_like(p.sigma)])
        columns = [values, torch.zeros_like(values), torch.ones_like(values), values]
        return torch.stack(columns[: 4 if len(self.halves) else 2], dim=-1)

    def forward(self, z: Tensor, c: PrimalDualContext) -> Tensor:
        """Take two primal-dual steps."""
        at, p = Iterate.of(z, len(c.primal)), c.programs
        if not len(self.halves):
            for _ in range(2):
                at = plain_step(p, at, self.relaxation)
            return at.columns()
        fade, mean = z[:, 2].clamp(0, 1), z[:, 3]  # a start of someone's own may lie anywhere
        trust = trust_at(fade)
        cut = self.training and not self.state_gradient
        for half in self.halves:
            assert isinstance(half, LearnedHalf)
            at = learned_step(p, at, half, trust, self.relaxation, cut=cut)
        mean = averaged(mean, at.before(self.relaxation), fade, self.decay)
        columns = torch.stack([self.decay * fade, mean], dim=-1)
        return torch.cat([at.columns(), columns], dim=-1)

    def decode(self, z: Tensor, c: PrimalDualContext) -> LPSolution:
        """Return the answer in the programs' units, as it was before the last over-relaxation.

        So it is within the bounds, and multipliers have the right sign.
        """
        n = len(c.primal)
        at, p = Iterate.of(z, n), c.programs
        values = at.before(self.relaxation)
        if len(self.halves):
            values = z[:, 3].lerp(values, trust_at(z[:, 2].clamp(0, 1)))
        return LPSolution(
            primal=c.primal * values[:n].clamp(p.x.lower, p.x.upper),
            dual=c.dual * projected_duals(p.x, values[n:]),
            primal_step=c.primal * at.y_step,
            dual_step=c.dual * at.dual_step,
        )

    def layout(self, z: Tensor, c: PrimalDualContext) -> Ragged:
        """One sample per program; its variables and its constraints are its nodes."""
        x = c.programs.x
        return Ragged(torch.cat([x.batch, x.constraint_batch]), x.n)

    def stop(self, z: Tensor, gz: Tensor, c: PrimalDualContext) -> Tensor | None:
        """Stop where a certificate decides the program. Cost: two sweeps."""
        if self.tolerance is None or c.given is None:
            return None
        found = c.given.verdict(self.decode(gz, c), _MARGIN * self.tolerance)
        return found != LPVerdict.UNDECIDED

    def select(self, c: PrimalDualContext, keep: Tensor) -> PrimalDualContext:
        """Keep some programs with their variables, constraints and nonzeros."""
        return c.select(keep)

    def metric_norm(self, difference: Tensor, c: PrimalDualContext) -> Tensor:
        """Return the seminorm of a difference of states in which steps by data are nonexpansive.

        Args:
            difference: Of the shape of a state.
            c: The encoded input.
        """
        return metric_norm(c.programs, Iterate.of(difference, len(c.primal)))


def _check(
    steps: str,
    counts: dict[str, int],
    decay: float,
    scaling_rounds: int,
    tolerance: float | None,
) -> None:
    if steps not in ("fixed", "data", "state"):
        raise ValueError(f"`LPPrimalDual.steps` must be 'fixed', 'data' or 'state', got {steps!r}.")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`LPPrimalDual.{name}` must be at least 1, got {value}.")
    if not 0 < decay < 1:
        raise ValueError(f"`LPPrimalDual.decay` must lie in (0, 1), got {decay}.")
    if scaling_rounds < 0:
        raise ValueError(f"`LPPrimalDual.scaling_rounds` must be at least 0, got {scaling_rounds}.")
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(
            f"`LPPrimalDual.tolerance` must lie in (0, 1), got {tolerance}; None switches "
            "certificates off."
        )
