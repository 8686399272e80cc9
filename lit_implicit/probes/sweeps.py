"""Derivatives of x -> y_t(x) through t Picard iterations: forward in one pass, and in reverse."""

import copy
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.errors import OperatorError
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import FixedPointMap
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
        with self._forward_mode():
            duals = [_dual(leaf, part) for leaf, part in zip(self.leaves, d, strict=True)]
            g, z = self._bind(duals)
            for t in range(n_iter + 1):
                tangent = map_tensors(_tangent, self.equilibrium.operator.decode(z, g.c))
                sizes.append(self._size(tangent))
                if t <= max(keep, default=-1):
                    trajectory.states.append(forward_ad.unpack_dual(z).primal)  # type: ignore[no-untyped-call]
                if t in keep:
                    trajectory.y[t] = tangent
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
            c = map_tensors(_fresh, tracked.c)  # cut here, so that encode is passed once, at last
            g = FixedPointMap(operator, c, tracked.layout)
            inputs = _floating(c)
            z = _fresh(trajectory.states[at])
            w, *sums = _gradients(_floating(operator.decode(z, c)), [z, *inputs], v)
            for t in reversed(range(at)):
                z = _fresh(trajectory.states[t])
                w, *parts = _gradients([self._step(g, z)], [z, *inputs], [w])
                sums = [total + part for total, part in zip(sums, parts, strict=True)]
            return _gradients([z0, *_floating(tracked.c)], leaves, [w, *sums])

    def distance_gradient(self, y: Any, y2: Any) -> list[Tensor]:
        """Return the gradient in y of each sample's |y - y2|, a tensor for each real one of y.

        It is zero where the distance has none, at y = y2.
        """
        with torch.enable_grad():
            y = map_tensors(_fresh, y)
            distance = self.objective.distance(y, y2, self.batch)
            gradients = _gradients([distance.sum()], _floating(y))
        return [gradient.nan_to_num(0.0, 0.0, 0.0) for gradient in gradients]

    def _bind(self, leaves: Leaves) -> tuple[FixedPointMap, Tensor]:
        return self.equilibrium.bind(self.objective.with_leaves(self.x, leaves), seed=self.seed)

    def _step(self, g: FixedPointMap, z: Tensor) -> Tensor:
        return g(z) if self.damping == 1 else z.lerp(g(z), self.damping)

    def _size(self, u: Any) -> Tensor:
        return self.objective.distance(u, map_tensors(torch.zeros_like, u), self.batch)

    @contextmanager
    def _forward_mode(self) -> Iterator[None]:
        try:
            with forward_ad.dual_level():
                yield
        except (NotImplementedError, RuntimeError) as err:
            reason = " ".join(str(err).split())
            if not any(word in reason for word in ("forward AD", "forward-mode", "jvp")):
                raise
            raise OperatorError(
                f"`{type(self.equilibrium.operator).__name__}` has no forward-mode derivative: "
                f"{reason} Give the function one (a `jvp`, in an autograd Function), or leave out "
                "the estimator `jacobian`."
            ) from err


@contextmanager
def outside_inference() -> Iterator[None]:
    """Leave inference mode, and record no gradients but where they are asked for."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _dual(leaf: Tensor, direction: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # The first call imports a part of torch that complains about another.
        warnings.simplefilter("ignore", FutureWarning)
        dual: Tensor = forward_ad.make_dual(leaf, direction)  # type: ignore[no-untyped-call]
    return dual


def _tangent(y: Tensor) -> Tensor:
    """Return the derivative that a tensor carries; zero where it depends on no leaf."""
    primal, tangent = forward_ad.unpack_dual(y)  # type: ignore[no-untyped-call]
    return torch.zeros_like(primal) if tangent is None else tangent


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _fresh(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_() if _is_real(tensor) else tensor


def _floating(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree that can carry derivatives, in its order."""
    found: list[Tensor] = []
    map_tensors(lambda tensor: found.append(tensor) if _is_real(tensor) else None, tree)
    return found


def _gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], v: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return the gradients of v . outputs; zeros for inputs that play no part."""
    weights = v or [torch.ones_like(out) for out in outputs]
    tracked = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    if not tracked:
        return [torch.zeros_like(tensor) for tensor in inputs]
    some_outputs, some_weights = zip(*tracked, strict=True)
    return list(
        torch.autograd.grad(
            some_outputs, list(inputs), some_weights, allow_unused=True, materialize_grads=True
        )
    )
