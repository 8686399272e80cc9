"""Pictures in the manner of the paper's Figure 1: F, iterates, the answer, poles dashed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from lit_implicit_scalar.points import ScalarBatch
from lit_implicit_scalar.targets import ScalarTarget, find_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 0.98
"""Share of the values of F within the picture, where its target does not say: no pole whole."""


def draw_answer(y: Tensor, batch: ScalarBatch) -> "Figure":
    """Draw the target and a model's answer over the points of a batch.

    Args:
        y: The answer, shape `(n,)`.
        batch: The points.
    """
    from matplotlib.figure import Figure

    target = find_target(batch.target_name, "ScalarBatch.target_name")
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    x = batch.x.detach().cpu().double()
    _panel(axes, target, x, batch.target.detach().cpu().double(), "F", "0.6")
    axes.set_ylim(*_limits(target, batch.target))
    _panel(axes, target, x, y.detach().cpu().double(), "answer y", "C0")
    axes.set_title(f"{target.formula}\n{len(x)} points", fontsize="medium")
    axes.set_ylabel("F(x), y")
    axes.legend(fontsize="small")
    return figure


def draw_iterates(iterates: Mapping[int, Tensor], y: Tensor, batch: ScalarBatch) -> "Figure":
    """Draw F, the iterates y_t at some t, and y_*, side by side: the paper's Figure 1.

    Args:
        iterates: y_t by t, ascending, each of shape `(n,)`.
        y: The answer of the solver, y_* where it converged, shape `(n,)`.
        batch: The points.
    """
    from matplotlib.figure import Figure

    target = find_target(batch.target_name, "ScalarBatch.target_name")
    panels = {"F": batch.target, **{f"y_{t}": y_t for t, y_t in iterates.items()}, "y_*": y}
    figure = Figure(figsize=(2.4 * len(panels), 2.8), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    x = batch.x.detach().cpu().double()
    for number, (axes, (name, values)) in enumerate(zip(all_axes, panels.items(), strict=True)):
        _panel(axes, target, x, values.detach().cpu().double(), name, f"C{number % 10}")
        # Set as mathematics: y with t below it, and the star of the equilibrium.
        base, _, index = name.partition("_")
        axes.set_title(f"${base}_{{{index}}}$" if index else f"${base}$")
        axes.set_xlim(target.intervals[0][0], target.intervals[-1][1])
    all_axes[0].set_ylabel("y")
    all_axes[0].set_ylim(*_limits(target, batch.target))
    figure.suptitle(target.formula, fontsize="medium")
    return figure


def _panel(
    axes: "Axes", target: ScalarTarget, x: Tensor, y: Tensor, label: str, color: str
) -> None:
    """Draw a function interval by interval: no line may cross a pole."""
    for number, (low, high) in enumerate(target.intervals):
        inside = (x >= low) & (x <= high)
        order = x[inside].argsort()
        name = label if number == 0 else None
        axes.plot(x[inside][order], y[inside][order], color=color, label=name)
    for pole in target.poles:
        axes.axvline(pole, color="gray", linestyle="--", linewidth=1)
    axes.set_xlabel("x")
    axes.grid(alpha=0.3)


def _limits(target: ScalarTarget, f: Tensor) -> tuple[float, float]:
    """Return the range of y in a picture of F and of what is to become it."""
    if target.limits is not None:
        return target.limits
    shares = f.new_tensor([(1 - _SHOWN) / 2, (1 + _SHOWN) / 2])
    low, high = f.detach().quantile(shares).tolist()
    low, high = min(low, 0.0), max(high, 0.0)  # the start is in the picture
    margin = 0.05 * (high - low)
    return low - margin, high + margin
