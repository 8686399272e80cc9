"""Rolled out answers against iterations: a panel for each score, one for time, then the answers."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import torch

from lit_implicit.probes import RolloutCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHARACTERS = 100  # of a line across the figure


def draw_rollout_curve(curve: RolloutCurve, title: str, trained: int | None = None) -> "Figure":
    """Draw each score with its spread, the seconds of a sample, and a table of a few answers.

    The band of a score whose geometric mean is drawn reaches from it by its factor of spread, else
    by the standard deviation, which is left out of shares (values of 0 and 1 alone).

    Args:
        curve: The curve.
        title: Text above the picture: model, stage.
        trained: Number of iterations in training, drawn as a vertical line.
    """
    from matplotlib.figure import Figure

    scores = {name: score for name, score in curve.scores.items() if bool((score.n > 0).any())}
    lines = _table(curve)
    n_panels, n_lines = len(scores) + 1, sum(height for height, _ in lines)
    heights = [2.2] * n_panels + ([0.17 * n_lines + 0.3] if lines else [])
    figure = Figure(figsize=(9, sum(heights) + 1), layout="constrained")
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for number, (axes, (name, score)) in enumerate(zip(panels, scores.items(), strict=False)):
        _draw_score(axes, curve.times, name, score, f"C{number}")
    seconds = panels[n_panels - 1]
    seconds.plot(curve.times, curve.seconds, marker=".", color="gray")
    seconds.set_ylabel(f"seconds per sample\n(batches of {curve.batch_size})")
    seconds.set_xlabel("iterations t (log scale)")
    for axes in panels[:n_panels]:
        axes.set_xscale("log", base=2)
        axes.set_xticks(curve.times, [str(t) for t in curve.times])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if trained is not None:
            label = f"training budget ({trained})"
            axes.axvline(trained, color="gray", lw=1, ls="-.", label=label)
    panels[0].set_title(f"{title}\n{curve.n_samples} samples", fontsize="medium")
    for axes in panels[: n_panels - 1]:
        axes.legend(fontsize="small")
    if lines:
        _draw_table(panels[-1], lines, n_lines)
    return figure


def _draw_score(axes: "Axes", times: Any, name: str, score: Any, color: str) -> None:
    axes.plot(times, score.mean, marker=".", color=color, label=f"mean of {int(score.n.max())}")
    if score.geometric_mean is not None:
        middle, factor = score.geometric_mean, score.geometric_std
        label = "geometric mean, over and under by its factor of spread"
        axes.plot(times, middle, marker=".", ls="--", color="black", label=label)
        axes.fill_between(times, middle / factor, middle * factor, alpha=0.15, color="black")
    elif not torch.allclose(score.std.square(), score.mean * (1 - score.mean), equal_nan=True):
        low, high = score.mean - score.std, score.mean + score.std
        axes.fill_between(times, low, high, alpha=0.2, color=color, label="± standard deviation")
    axes.set_ylabel(name.replace("_", " "))


def _table(curve: RolloutCurve) -> list[tuple[int, list[str]]]:
    """Return the lines of the table of answers: how high each is, and its wrapped cells."""
    if not curve.rows:
        return []
    width = _CHARACTERS // max(1, len(curve.rows[0]) - 1)
    rows = [list(curve.rows[0]), *(list(row.values()) for row in curve.rows)]
    wrapped = [[fill(_drawable(str(cell)), width - 2) for cell in row] for row in rows]
    return [(max(cell.count("\n") for cell in row) + 2, row) for row in wrapped]


def _drawable(text: str) -> str:
    """Replace what the font cannot draw: untrained models answer anything."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(
        c if c.isspace() or (ord(c) in known and c.isprintable()) else "\ufffd" for c in text
    )


def _draw_table(axes: "Axes", lines: list[tuple[int, list[str]]], n_lines: int) -> None:
    """Write the cells: the first column, t, is narrow, the others share what is left."""
    axes.set_axis_off()
    axes.set_ylim(n_lines, 0)
    line = 0
    for number, (height, cells) in enumerate(lines):
        style: dict[str, Any] = {"weight": "bold"} if number == 0 else {}
        for column, cell in enumerate(cells):
            x = 0.0 if column == 0 else 0.05 + 0.95 * (column - 1) / (len(cells) - 1)
            # As it stands: a dollar sign in somebody's text begins no formula.
            axes.text(x, line, cell, va="top", fontsize=8, parse_math=False,
                      transform=axes.get_yaxis_transform(), **style)  # fmt: skip
        line += height
        axes.axhline(line - 0.5, color="gray", lw=0.3)
