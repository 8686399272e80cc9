"""Pictures of flows: force, truth, answers, errors, residuals and streamlines."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lit_implicit_flow.batch import FlowBatch
from lit_implicit_flow.equation import curl, residual, velocity
from lit_implicit_flow.measures import relative_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 3
"""Flows in a figure."""


def draw_flows(y: Tensor, batch: FlowBatch) -> "Figure":
    """Draw force, truth, answer, error, residual of the equation and streamlines of a few flows.

    Each is in the units of the equation; truth and answer of a flow share a colour scale, all
    others have their own, whose end stands in the title. Arrows are the force.

    Args:
        y: Answers, shape `(n, 1, N, N)`.
        batch: The flows.
    """
    from matplotlib.figure import Figure

    n = min(_SHOWN, len(y))
    shown = torch.arange(len(y), device=y.device) < n
    batch, y = batch.select(shown), y.detach()[shown]
    x = batch.x
    w, force = x.physical_vorticity(y), x.physical_force()
    truth = None if batch.target is None else x.physical_vorticity(batch.target)
    errors = None if batch.target is None else relative_error(y, batch.target)
    left, u = residual(w, force, x.viscosity), velocity(w)
    titles = ["curl f", "answer w", "residual", "streamlines"]
    if truth is not None:
        titles[1:2] = ["truth w", "answer w", "error"]
    figure = Figure(figsize=(2.5 * len(titles), 2.6 * n), layout="constrained")
    grid = figure.subplots(n, len(titles), squeeze=False)
    for row in range(n):
        limit = _size(w[row] if truth is None else truth[row])
        panels: dict[str, tuple[Tensor, float | None, str]] = {
            "curl f": (curl(force[row]), None, "curl f"),
            "answer w": (w[row], limit, "answer w"),
            "residual": (left[row], None, "residual"),
        }
        if truth is not None and errors is not None:
            panels["truth w"] = truth[row], limit, "truth w"
            panels["error"] = w[row] - truth[row], None, f"error {float(errors[row]):.3f},"
        for axes, title in zip(grid[row], titles, strict=True):
            if title == "streamlines":
                _draw_streamlines(axes, u[row], w[row], limit)
            else:
                _draw_field(axes, *panels[title])
        _draw_arrows(grid[row, 0], force[row])
    return figure


def draw_iterates(iterates: Mapping[int, Tensor], y: Tensor, batch: FlowBatch) -> "Figure":
    """Draw the truth, y_t at some t, and y_*, for the first flows of a batch.

    Args:
        iterates: Answers by t, ascending.
        y: The answers of the test solver.
        batch: The flows.
    """
    from matplotlib.figure import Figure

    answers = {f"$y_{{{t}}}$": y_t for t, y_t in iterates.items()} | {"$y_*$": y}
    n = min(_SHOWN, len(y))
    columns = len(answers) + (batch.target is not None)
    figure = Figure(figsize=(2.3 * columns, 2.5 * n), layout="constrained")
    grid = figure.subplots(n, columns, squeeze=False)
    truth = batch.target if batch.target is not None else y.detach()
    for row in range(n):
        limit = _size(truth[row, 0])
        places = iter(grid[row])
        if batch.target is not None:
            _draw_field(next(places), truth[row, 0], limit, "truth")
        for (name, y_t), axes in zip(answers.items(), places, strict=True):
            title = name
            if batch.target is not None:
                one = slice(row, row + 1)
                title += f", error {float(relative_error(y_t[one], truth[one])):.3f}"
            _draw_field(axes, y_t[row, 0], limit, title)
    return figure


def _draw_field(axes: "Axes", field: Tensor, limit: float | None, title: str) -> None:
    """Draw a field with x to the right and y upwards."""
    shown = field.detach().float().cpu()
    end = _size(shown) if limit is None else limit
    axes.imshow(
        shown.numpy().T, origin="lower", cmap="RdBu_r", vmin=-end, vmax=end,
        extent=(0, 2 * math.pi, 0, 2 * math.pi),
    )  # fmt: skip
    axes.set_title(f"{title} ±{end:.2g}" if limit is None else title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_streamlines(axes: "Axes", u: Tensor, w: Tensor, limit: float) -> None:
    _draw_field(axes, w, limit, "streamlines")
    points, across, up = _arrows(u, 1)
    if abs(across).max() + abs(up).max() > 0:
        axes.streamplot(points, points, across, up, color="k", linewidth=0.5, arrowsize=0.6)
    axes.set_xlim(0, 2 * math.pi)
    axes.set_ylim(0, 2 * math.pi)


def _draw_arrows(axes: "Axes", vector: Tensor) -> None:
    points, across, up = _arrows(vector, max(1, vector.shape[-1] // 12))
    axes.quiver(points, points, across, up, width=0.006)


def _arrows(vector: Tensor, every: int) -> tuple[Any, Any, Any]:
    """Return places along an axis and both components, rows upwards, as matplotlib takes them."""
    side = vector.shape[-1]
    shown = vector.detach().float().nan_to_num().cpu()[:, ::every, ::every].numpy()
    points = [2 * math.pi * i / side for i in range(0, side, every)]
    return points, shown[0].T, shown[1].T


def _size(field: Tensor) -> float:
    """Return the largest absolute value, at least a tiny one; 1 where it is not finite."""
    largest = float(field.detach().abs().max())
    return max(largest, 1e-12) if math.isfinite(largest) else 1.0
