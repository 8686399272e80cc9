"""Derivatives of x -> y_t(x) through t Picard iterations: forward in one pass, and in reverse."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import FixedPointMap
from lit_implicit.probes.derivatives import (
    dual,
    forward_mode,
    fresh,
    gradients,
    primal,
    real_tensors,
    tangent,
)
from lit_implicit.probes.directions import Directions, Leaves
from lit_implicit.probes.double import double_input, double_model
from lit_implicit.solvers import AbstractSolver, Picard
from lit_implicit.tree import map_tensors


@dataclass(eq=False)
class Trajectory:
    """The states of an iteration, without a graph, from which a reverse sweep starts.

    Args:
        leaves: The leaves of the input.
        states: z_0, z_1, ... as far as they were asked for.
        y: The answer y_t by t, where it was asked for; or, of a forward sweep, its derivative.
    """

    leaves: list[Tensor]
    states: list[Tensor] = field(default_factory=list)
    y: dict[int, Any] = field(default_factory=dict)


class Sweeps:
    """The iterates of a batch and their derivatives in the leaves of its input.

    Make it and use it under `outside_inference()`.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: Says what the leaves are.
        batch: The samples, which are copied: evaluation may run in inference mode, whose tensors
            can carry no derivative.
        solver: Picard iteration, damped or not; None means not.
        double: Compute in double precision, on a copy of the operator.
        seed: Seed of starts that are drawn.

    Raises:
        ValueError: If the solver is another.
    """

    def __init__(
        self,
        equilibrium: Equilibrium,
        objective: AbstractObjective,
        batch: Any,
        solver: AbstractSolver | None = None,
        double: bool = True,
        seed: int = 0,
    ) -> None:
        if not isinstance(solver, Picard | None):
            raise ValueError(
                f"Derivatives are taken through Picard iteration alone, got {solver!r}. Name a "
                "`Picard` or none, or measure by pairs, which any solver allows."
            )
        self.damping = 1.0 if solver is None else solver.damping
        self.objective, self.batch, self.seed = objective, copy.deepcopy(batch), seed
        self.equilibrium = double_model(equilibrium) if double else equilibrium
        x = map_tensors(torch.clone, objective.inputs(self.batch))
        self.x = double_input(x) if double else x
        self.leaves = list(objective.leaves(self.x))
        self.directions = Directions.of(objective, self.x)

    def run(self, leaves: Leaves, at: int) -> Trajectory:
        """Iterate from other leaves up to y_t, t = `at`, and keep the states."""
        trajectory = Trajectory(list(leaves))
        g, z = self._bind(leaves)
        for _ in range(at):
            trajectory.states.append(z)
            z = self._step(g, z)
        trajectory.states.append(z)
        trajectory.y[at] = self.equilibrium.operator.decode(z, g.c)
        return trajectory

    def push(self, d: Leaves, n_iter: int, keep: Collection[int] = ()) -> tuple[Tensor, Trajectory]:
        """Carry the derivative along a direction from t = 0 to T, in one forward pass.

        Args:
            d: The direction, a tensor for each leaf.
            n_iter: Number T of iterations.
            keep: The t whose derivative is kept, with all states up to there.

        Returns:
            Sizes of dy_t/dx d, shape `(T + 1, n)`, and what is kept.

        Raises:
            OperatorError: If G uses a function without a forward-mode derivative.
        """
        sizes, trajectory = [], Trajectory(self.leaves)
        last_kept = max(keep, default=-1)
        with forward_mode(self.equilibrium.operator):
            duals = [dual(leaf, part) for leaf, part in zip(self.leaves, d, strict=True)]
            g, z = self._bind(duals)
            for t in range(n_iter + 1):
                dy = map_tensors(tangent, self.equilibrium.operator.decode(z, g.c))
                sizes.append(self._size(dy))
                if t <= last_kept:
                    trajectory.states.append(primal(z))
                if t in keep:
                    trajectory.y[t] = dy
                if t < n_iter:
                    z = self._step(g, z)
        return torch.stack(sizes), trajectory

    def pull(self, trajectory: Trajectory, at: int, v: Sequence[Tensor]) -> list[Tensor]:
        """Return the derivative of v . y_t in the leaves: a reverse sweep from t to 0.

        Each step is computed anew from its state, with a graph that the next one replaces: memory
        for the states, and for one graph.

        Args:
            trajectory: The states up to t, and the leaves.
            at: The t.
            v: A tensor for each real tensor of y_t, of its shape.
        """
        operator = self.equilibrium.operator
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in trajectory.leaves]
            tracked, z0 = self._bind(leaves)
            c = map_tensors(fresh, tracked.c)  # cut here, so that encode is passed once, at last
            g = FixedPointMap(operator, c, tracked.layout)
            inputs = real_tensors(c)
            z = fresh(trajectory.states[at])
            w, *sums = gradients(real_tensors(operator.decode(z, c)), [z, *inputs], v)
            for t in reversed(range(at)):
                z = fresh(trajectory.states[t])
                w, *parts = gradients([self._step(g, z)], [z, *inputs], [w])
                sums = [total + part for total, part in zip(sums, parts, strict=True)]
            return gradients([z0, *real_tensors(tracked.c)], leaves, [w, *sums])

    def distance_gradient(self, y: Any, y2: Any) -> list[Tensor]:
        """Return the gradient in y of each sample's |y - y2|, a tensor for each real one of y.

        It is zero where the distance has none, at y = y2.
        """
        with torch.enable_grad():
            y = map_tensors(fresh, y)
            distance = self.objective.distance(y, y2, self.batch)
            found = gradients([distance.sum()], real_tensors(y))
        return [gradient.nan_to_num(0.0, 0.0, 0.0) for gradient in found]

    def _bind(self, leaves: Leaves) -> tuple[FixedPointMap, Tensor]:
        return self.equilibrium.bind(self.objective.with_leaves(self.x, leaves), seed=self.seed)

    def _step(self, g: FixedPointMap, z: Tensor) -> Tensor:
        return g(z) if self.damping == 1 else z.lerp(g(z), self.damping)

    def _size(self, u: Any) -> Tensor:
        return self.objective.distance(u, map_tensors(torch.zeros_like, u), self.batch)
