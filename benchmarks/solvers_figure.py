"""The figure of the benchmark of solvers: our time over the best rival's, problem by problem."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw(panels: dict[str, Sequence[dict[str, Any]]], path: Path) -> None:
    """Draw a median with its quartiles for each problem and goal, a panel for each measurement.

    Args:
        panels: Entries of `compare` by title; empty ones are left out.
        path: PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    panels = {title: [e for e in found if "ratio" in e] for title, found in panels.items()}
    panels = {title: found for title, found in panels.items() if found}
    if not panels:
        return
    sizes = [len(found) for found in panels.values()]
    figure = Figure(figsize=(9, 0.6 * len(panels) + 0.24 * sum(sizes) + 0.8), layout="constrained")
    axes = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[n + 1 for n in sizes]
    )
    for ax, (title, found) in zip(axes[:, 0], panels.items(), strict=True):
        y = range(len(found))
        middle = [e["ratio"]["median"] for e in found]
        low = [e["ratio"]["median"] - e["ratio"]["q25"] for e in found]
        high = [e["ratio"]["q75"] - e["ratio"]["median"] for e in found]
        ax.axvline(1, color="0.4", lw=1)
        ax.errorbar(middle, y, xerr=[low, high], fmt="o", ms=4, lw=1.2, color="C0")
        for place, e in zip(y, found, strict=True):
            ax.annotate(
                f"{e['ours']} / {e['rival']}", (1.01, place), va="center", fontsize=7,
                xycoords=("axes fraction", "data"),
            )  # fmt: skip
        ax.set_yticks(y, [f"{e['problem']}, {e['goal']:.0e}" for e in found], fontsize=7)
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(title, fontsize=9, loc="left")
        ax.grid(axis="x", which="both", alpha=0.25)
    axes[-1, 0].set_xlabel(
        "time of our best method / that of the best rival (log scale; below 1: ours is faster)",
        fontsize=8,
    )
    figure.savefig(path, dpi=130)
