"""One primal-dual step: two sweeps, with or without what is learned of the iterate."""

import torch
from torch import Tensor, nn

from lit_implicit.layout import Ragged
from lit_implicit_lp.fast_asinh import asinh
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.iterate import Iterate
from lit_implicit_lp.primal_dual_context import Programs
from lit_implicit_lp.step_rules import StepRule, level_of, near


class LearnedHalf(nn.Module):
    """The rules of one step for variables and constraints, and what constraints announce first.

    Args:
        messages: Features that both sides send along with their values.
        embedding: Features of an embedded node.
        width: Hidden features of the rules.
    """

    def __init__(self, messages: int, embedding: int, width: int) -> None:
        super().__init__()
        self.announce = nn.Linear(embedding + 3, messages)
        self.variable_rule = StepRule(2, 3, messages, messages, embedding, width)
        self.constraint_rule = StepRule(1, 2, messages, 0, embedding, width)


def plain_step(p: Programs, at: Iterate, relaxation: Tensor | float) -> Iterate:
    """Take a step of PDHG: nonexpansive in its metric for a relaxation in (0, 2)."""
    reduced = p.x.c + (p.matrix.mT @ at.dual[:, None])[:, 0]
    y = (at.y - p.tau * reduced).clamp(p.x.lower, p.x.upper)
    excess = (p.matrix @ (2 * y - at.y)[:, None])[:, 0] - p.x.b
    return _relaxed(at, y, projected_duals(p.x, at.dual + p.sigma * excess), relaxation)


def metric_norm(p: Programs, difference: Iterate) -> Tensor:
    """Return the seminorm of a difference of iterates in which plain steps are nonexpansive.

    `|dy|^2_{1/tau} + |ddual|^2_{1/sigma} - 2 ddual' A dy`, for the values alone, shape `(n,)`.
    """
    variables, constraints = Ragged(p.x.batch, p.x.n), Ragged(p.x.constraint_batch, p.x.n)
    y, dual = difference.y, difference.dual
    coupling = constraints.dot(dual, (p.matrix @ y[:, None])[:, 0])
    squares = variables.dot(y / p.tau, y) + constraints.dot(dual / p.sigma, dual)
    return (squares - 2 * coupling).clamp(min=0).sqrt()


def learned_step(
    p: Programs,
    at: Iterate,
    half: LearnedHalf,
    trust: Tensor,
    relaxation: Tensor | float,
    *,
    cut: bool,
) -> Iterate:
    """Take a step whose sizes, momentum and corrections are decided from the iterate.

    At trust 0 it is `plain_step`, and so it is at an optimal pair that is at rest, where all that
    is decided vanishes.

    Args:
        p: The programs.
        at: Where the step starts.
        half: What is learned.
        trust: In 0..1 for each variable, then for each constraint.
        relaxation: Over-relaxation of the whole step, in (0, 2).
        cut: Whether the rules see the iterate without gradients.
    """
    variables, constraints = Ragged(p.x.batch, p.x.n), Ragged(p.x.constraint_batch, p.x.n)
    seen = at.detach() if cut else at
    duals = asinh(torch.stack([seen.dual, 10 * seen.dual_step, 100 * seen.dual_step]))
    announced = half.announce(torch.cat([p.constraints.T, duals]).T)
    received = p.matrix.mT @ torch.cat([at.dual[:, None], announced], dim=-1)
    reduced = p.x.c + received[:, 0]

    gradient = reduced.detach() if cut else reduced
    move = (seen.y - p.tau * gradient).clamp(p.x.lower, p.x.upper) - seen.y
    if cut:
        move = move.detach()
    level = level_of(move, variables, seen.dual_step, constraints)
    rule = half.variable_rule(
        torch.stack([near(seen.y - p.x.lower), near(p.x.upper - seen.y)]),
        torch.stack([gradient, move, seen.y_step]),
        variables.spread(level, seen.y),
        received[:, 1:],
        p.variables,
        trust[: len(seen.y)],
    )
    step = rule.momentum * at.y_step + rule.correction - p.tau * rule.factor * reduced
    y = (at.y + step).clamp(p.x.lower, p.x.upper)

    received = p.matrix @ torch.cat([(2 * y - at.y)[:, None], rule.messages], dim=-1)
    excess = received[:, 0] - p.x.b
    rule = half.constraint_rule(
        p.x.is_equality[None],
        torch.stack([excess.detach() if cut else excess, seen.dual_step]),
        constraints.spread(level, seen.dual),
        received[:, 1:],
        p.constraints,
        trust[len(seen.y) :],
    )
    step = rule.momentum * at.dual_step + rule.correction + p.sigma * rule.factor * excess
    return _relaxed(at, y, projected_duals(p.x, at.dual + step), relaxation)


def projected_duals(x: LPFeatures, dual: Tensor) -> Tensor:
    """Project multipliers: those of `<=` are at least 0."""
    return torch.where(x.is_equality.bool(), dual, dual.clamp(min=0))


def _relaxed(at: Iterate, y: Tensor, dual: Tensor, relaxation: Tensor | float) -> Iterate:
    y_step, dual_step = y - at.y, dual - at.dual
    return Iterate(at.y + relaxation * y_step, at.dual + relaxation * dual_step, y_step, dual_step)
