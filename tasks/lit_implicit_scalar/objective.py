"""What is asked of a model of a function of one number: its loss, error and perturbation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective, Mode, Perturbed
from lit_implicit_scalar.figures import draw_answer, draw_iterates
from lit_implicit_scalar.points import make_batch
from lit_implicit_scalar.targets import TARGETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScalarObjective(AbstractObjective):
    """Predict F(x).

    The error is |y - F| / max(|F|, floor), relative because F spans orders of magnitude: of an
    absolute error, only the points next to a pole would be seen. The floor is for the zeros of F.
    Where it plays no part, the iterates (1 - (1 - epsilon)^t) F of the construction have the error
    (1 - epsilon)^t.

    The loss is ((y - F) / (1 + |F|))^2: relative where F is large, absolute where it is small, so
    that neither a pole nor a zero of F rules the training.

    Args:
        floor: Least size of F that errors are related to.
        step: Size of a perturbation: of the distance to the nearest singular point where that is
            below 1, else in units of x; in (0, 1).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, floor: float = 1e-3, step: float = 1e-3) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"`ScalarObjective.floor` must be positive, got {floor}.")
        if not 0 < step < 1:
            raise ValueError(f"`ScalarObjective.step` must lie in (0, 1), got {step}.")
        self.floor, self.step = floor, step

    def inputs(self, batch: Any) -> Tensor:
        """Return the points, shape `(n,)`."""
        x: Tensor = batch.x
        return x

    def n_samples(self, batch: Any) -> int:
        """Return the number of points."""
        return len(batch.x)

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the points in `keep`."""
        return batch.select(keep)

    def keys(self, batch: Any) -> Tensor:
        """Return each point's number in its split, shape `(n,)`."""
        index: Tensor = batch.index
        return index

    def target(self, batch: Any) -> Tensor:
        """Return F at the points, shape `(n,)`."""
        target: Tensor = batch.target
        return target

    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return ((y - F) / (1 + |F|))^2 at each point."""
        loss: Tensor = ((y - batch.target) / (1 + batch.target.abs())).square()
        return loss

    def error(self, y: Any, batch: Any) -> Tensor:
        """Return |y - F| / max(|F|, floor) at each point."""
        error: Tensor = (y - batch.target).abs() / batch.target.abs().clamp(min=self.floor)
        return error

    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return |y - y2| at each point."""
        distance: Tensor = (y - y2).abs()
        return distance

    @property
    def modes(self) -> Mapping[str, Mode]:
        """One mode: a small step in x. L_t is the largest slope, as in the theory."""
        return {"x": Mode(aggregate="max")}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Move each point towards the nearest singular one, by a small part of the distance.

        So it stays in the domain, and goes where F is steeper. Nothing is drawn. The moved points
        and their values come in float64, whatever the batch's precision.

        Raises:
            KeyError: If the mode is not `x`.
        """
        if mode not in self.modes:
            raise KeyError(f"{type(self).__name__} has no mode {mode!r}; known: ['x'].")
        target = TARGETS[batch.target_name]
        x = batch.x.to(widest_dtype(batch.x.device))
        direction = (target.nearest_singular(x) - x).sign()
        moved = x + direction * self.step * target.distance(x).clamp(max=1.0)
        # The step as it was made: next to pi / 2, rounding takes its share.
        size = (moved - x).abs()
        perturbed = replace(batch, x=moved, target=target.function(moved))
        return Perturbed(perturbed, size, size > 0)

    def shell(
        self, batch: Any, distance: float, generator: torch.Generator | None = None
    ) -> Any | None:
        """Return all points of the domain at this distance from the singular set, in float64.

        One on each side of each singular point, where the domain reaches so far and no other
        singular point is closer; None where there is no such point.
        """
        target = TARGETS[batch.target_name]
        singular = batch.x.new_tensor(target.singular, dtype=widest_dtype(batch.x.device))
        points = torch.cat([singular - distance, singular + distance])
        inside = torch.zeros_like(points, dtype=torch.bool)
        for low, high in target.intervals:
            inside |= (points >= low) & (points <= high)
        # Half of the distance is far more than rounding can move a point.
        points = points[inside & (target.distance(points) > distance / 2)]
        return make_batch(points, batch.target_name) if len(points) else None

    def figures(self, y: Any, batch: Any) -> Mapping[str, "Figure"]:
        """Draw F and the answer over the points of the batch."""
        return {"answer": draw_answer(y, batch)}

    @property
    def times(self) -> Sequence[int]:
        """Those of the paper's Figure 1."""
        return (5, 20, 100)

    def figures_over_iterations(
        self, iterates: Mapping[int, Any], y: Any, batch: Any
    ) -> Mapping[str, "Figure"]:
        """Draw F, the iterates and the answer side by side, as the paper's Figure 1."""
        return {"iterates": draw_iterates(iterates, y, batch)}
