"""What is learned of a step that looks at the iterate: factors, momentum and corrections."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_implicit.layout import Ragged
from lit_implicit_lp.fast_asinh import asinh
from lit_implicit_lp.layers import mlp

_FAR = 10.0
_SCALES = (1.0, 30.0, 1000.0)
_LEAST_LEVEL = 1e-6
_REACH = 3.0
"""Most that a correction moves a node, in levels, and largest logarithm of a step's factor."""


@dataclass(frozen=True, eq=False)
class Controls:
    """What a rule decides for each node of one side of the graph.

    Args:
        factor: Factor of the step size, in `exp(-3)..exp(3)`.
        momentum: Share of the last step that is added, in -1..1.
        correction: What is added besides, at most three times the level of its program.
        messages: What is sent to the other side, shape `(nodes, n_sent)`.
    """

    factor: Tensor
    momentum: Tensor
    correction: Tensor
    messages: Tensor


class StepRule(nn.Module):
    """Decide the step of each node of one side from what it sees, by one small network.

    Quantities that vanish at an optimum are seen through `asinh` at several scales and relative to
    the level, the root mean square of the program's step. All that a rule decides is multiplied by
    `trust`: at trust 0 the step is that of the data alone. An untrained rule decides nothing.

    Args:
        n_fixed: Features that are seen as they are.
        n_vanishing: Features that vanish at an optimum.
        n_received: Messages that each node receives.
        n_sent: Messages that it sends; 0 for none.
        embedding: Features of an embedded node.
        width: Hidden features.
    """

    def __init__(
        self,
        n_fixed: int,
        n_vanishing: int,
        n_received: int,
        n_sent: int,
        embedding: int,
        width: int,
    ) -> None:
        super().__init__()
        n_seen = n_fixed + (len(_SCALES) + 1) * n_vanishing + 1 + n_received + embedding
        self.network = mlp(n_seen, width, 3 + n_sent, activation=nn.SiLU)
        decide = self.network[2]
        assert isinstance(decide, nn.Linear)
        with torch.no_grad():
            decide.weight[:3] = 0
            decide.bias.zero_()

    def forward(
        self,
        fixed: Tensor,
        vanishing: Tensor,
        level: Tensor,
        messages: Tensor,
        embedded: Tensor,
        trust: Tensor,
    ) -> Controls:
        """Decide for each node.

        What is seen is put together by rows, one per feature: narrow columns are slow to fill.

        Args:
            fixed: Shape `(n_fixed, nodes)`.
            vanishing: Shape `(n_vanishing, nodes)`.
            level: Level of each node's program, shape `(nodes,)`.
            messages: Received messages, shape `(nodes, n_received)`.
            embedded: Embedding of the nodes.
            trust: In 0..1, shape `(nodes,)`.
        """
        seen = [fixed, _at_scales(vanishing, level), level[None].log() / 5]
        out = self.network(torch.cat([*seen, messages.T / 3, embedded.T]).T)
        factor, momentum, correction = out[:, :3].unbind(-1)
        return Controls(
            factor=(trust * _REACH * (factor / _REACH).tanh()).exp(),
            momentum=trust * momentum.tanh(),
            # The least level is there to divide by; at rest, nothing is added.
            correction=trust * _REACH * (level - _LEAST_LEVEL) * correction.tanh(),
            messages=out[:, 3:],
        )


def level_of(step: Tensor, layout: Ragged, other: Tensor, other_layout: Ragged) -> Tensor:
    """Return the level of each program: the root mean square of its primal and its dual step.

    It is at least 1e-6, in units.

    Args:
        step: Step of each variable.
        layout: Of the variables.
        other: Step of each constraint.
        other_layout: Of the constraints.
    """
    squares = _mean_square(step, layout) + _mean_square(other, other_layout)
    return (squares + _LEAST_LEVEL**2).sqrt()


def near(distance: Tensor) -> Tensor:
    """Return a distance as networks see it: far is far."""
    return distance.clamp(-_FAR, _FAR)


def _mean_square(step: Tensor, layout: Ragged) -> Tensor:
    ones = torch.ones_like(step)
    return layout.dot(step, step) / layout.dot(ones, ones).clamp(min=1)


def _at_scales(values: Tensor, level: Tensor) -> Tensor:
    scales = torch.stack([*(torch.full_like(level, k) for k in _SCALES), 1 / level])
    size = [max(math.asinh(k), 1.0) for k in (*_SCALES, 1.0)]
    seen = asinh(values[:, None] * scales) / values.new_tensor(size)[:, None]
    return seen.flatten(0, 1)
