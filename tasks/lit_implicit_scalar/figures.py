"""Pictures in the manner of the paper's Figure 1: F, iterates, the answer, poles dashed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_implicit import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.probes import iterates
from lit_implicit_scalar.points import ScalarBatch, draw_points
from lit_implicit_scalar.targets import ScalarTarget, find_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 10.0
"""Pictures show y from -10 to 10, as the paper's."""


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
    _panel(axes, target, x, batch.target.detach().cpu(), "F", "0.6")
    _panel(axes, target, x, y.detach().cpu(), "answer y", "C0")
    axes.set_title(f"{target.formula}\n{len(x)} points", fontsize="medium")
    axes.set_ylabel("F(x), y")
    axes.legend(fontsize="small")
    return figure


@torch.no_grad()
def draw_iterates(
    equilibrium: Equilibrium,
    target_name: str,
    times: Sequence[int] = (5, 20, 100),
    n_points: int = 2000,
    max_iter: int = 10_000,
) -> "Figure":
    """Draw F, the iterates y_t at some t, and y_*, side by side: the paper's Figure 1.

    Iterates are those of plain Picard iteration. The last panel is the iterate `max_iter`, which
    next to a singular point need not have converged.

    Args:
        equilibrium: The model.
        target_name: The function that it answers with, a key of `TARGETS`.
        times: The t of the iterates, ascending.
        n_points: Points over the domain.
        max_iter: The t of the last panel; more than the last of `times`.

    Raises:
        ValueError: If the target is not known, or the times do not ascend from 0 to `max_iter`.
    """
    from matplotlib.figure import Figure

    target = find_target(target_name, "draw_iterates.target_name")
    shown = [*times, max_iter]
    if shown != sorted(set(shown)) or shown[0] < 0:
        raise ValueError(
            "`draw_iterates.times` must ascend, from 0 on and below `max_iter`, "
            f"got {tuple(times)} with `max_iter` {max_iter}."
        )
    device = next((tensor.device for tensor in equilibrium.parameters()), torch.device("cpu"))
    x = draw_points(target, "test", n_points, spread="grid", closest=1e-4)
    dtype = next((p.dtype for p in equilibrium.parameters()), widest_dtype(device))
    panels = {"F": target.function(x)}
    for t, item in enumerate(iterates(equilibrium, x.to(device, dtype), max_iter)):
        if t in shown:
            panels[f"y_* (t = {t})" if t == max_iter else f"y_{t}"] = item.y.cpu()
    figure = Figure(figsize=(2.8 * len(panels), 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for number, (one, (name, y)) in enumerate(zip(axes, panels.items(), strict=True)):
        _panel(one, target, x, y, name, f"C{number}")
        one.set_title(name, fontsize="medium")
    axes[0].set_ylabel("y")
    figure.suptitle(f"{type(equilibrium.operator).__name__}: {target.formula}", fontsize="medium")
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
    axes.set_ylim(-_HEIGHT, _HEIGHT)
    axes.set_xlabel("x")
    axes.grid(alpha=0.3)
