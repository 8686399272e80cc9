"""How steep an operator is in x near the singular set of its target."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.input_slope import input_slope
from lit_implicit.probes.map_pairs import FrozenModel


class ShellSlopes(NamedTuple):
    """The largest slopes at each distance, shape `(distances,)`; -inf where there is none.

    Args:
        slope: |G(z, x + d) - G(z, x)| / |d|.
        target_slope: |F(x + d) - F(x)| / |d| of the targets.
    """

    slope: Tensor
    target_slope: Tensor


def shell_slopes(
    model: FrozenModel,
    objective: AbstractObjective,
    batch: Any,
    modes: Sequence[str],
    distances: Sequence[float],
    size: float,
) -> ShellSlopes:
    """Measure slopes in x on shells, at states that do not depend on x.

    z* itself may have no bound there, so these are zero and one of a given size.

    Args:
        model: The model.
        objective: Knows the shells and perturbs their inputs.
        batch: A batch of the task, for what its inputs are like.
        modes: Names of modes of the objective.
        distances: Distances to the singular set of the target (units of the task).
        size: 2-norm of the state that is not zero.
    """
    found = ShellSlopes(*(torch.full((len(distances),), -torch.inf).double() for _ in range(2)))
    for number, distance in enumerate(distances):
        shell = objective.shell(batch, distance, torch.Generator().manual_seed(model.seed))
        if shell is None:
            continue
        g, z0 = model.bind(objective.inputs(shell))
        ones = torch.ones_like(z0)
        fixed = g.layout.spread(size / g.layout.norm(ones), z0).to(z0.dtype) * ones
        for pair in model.pairs(g, objective, shell, modes):
            for largest, slope in (
                (found.slope, input_slope(pair, torch.zeros_like(z0))),
                (found.slope, input_slope(pair, fixed)),
                (found.target_slope, pair.target_slope),
            ):
                known = slope[slope.isfinite()]
                largest[number] = max([float(largest[number]), *known.tolist()])
    return found
