"""The picture of an audit: error, residual and distance of the runs far past the training depth."""

import textwrap
from typing import TYPE_CHECKING

import torch

from lit_implicit.probes import EquilibriumAudit
from lit_implicit.probes.audit_result import PATH_TOLERANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALL = 1e-16
"""Stands for zero on a log scale."""


def draw_audit(audit: EquilibriumAudit, title: str) -> "Figure":
    """Draw what the verdict rests on; its lines are the titles.

    Args:
        audit: The audit.
        title: Text above the verdict: model and stage.
    """
    # A figure of its own, not pyplot's: nothing to close, no window, safe in threads.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    (error, residual), (distance, ends) = figure.subplots(2, 2)
    t = torch.arange(audit.n_iter + 1)
    for axes in (error, residual, distance):
        # Linear up to t = 1, so that t = 0 has its place.
        axes.set_xscale("symlog", linthresh=1, subs=list(range(2, 10)))
        axes.set_xlim(0, audit.n_iter)
        axes.axvline(audit.train_max_iter, color="gray", lw=1, ls="-.")
        axes.set_xlabel(f"iterations t of {audit.iteration} (log scale)")
        axes.grid(alpha=0.3)

    depth = f"training depth ({audit.train_max_iter})"
    error.plot(t, audit.error_mean, color="C0", label="mean")
    t_least, least = audit.t_least, float(audit.error_mean[audit.t_least])
    error.plot([t_least], [least], "v", color="C3", label=f"least: {least:.3g} at t = {t_least}")
    error.plot([], [], color="gray", lw=1, ls="-.", label=depth)
    error.set_ylabel("task error")
    drawn = audit.error_mean[audit.error_mean.isfinite()]
    highest = float(drawn.max()) if len(drawn) else 0.0
    error.set_ylim(0, 1.05 * highest or 1.0)
    error.legend(fontsize="small")

    residual.semilogy(t, audit.relative_residual.clamp(min=_SMALL), color="C1", label="median")
    _tolerance(residual, audit.rtol, f"tolerance ({audit.rtol:.1g})")
    residual.set_ylabel("relative residual |G(z) - z| / |G(z)|\n(log scale)")

    for name, style in (("path_difference", "-"), ("path_difference_q90", ":")):
        label = "median" if style == "-" else "90 % quantile"
        values = getattr(audit, name).clamp(min=_SMALL)
        distance.semilogy(t, values, style, color="C2", label=label)
    _tolerance(distance, PATH_TOLERANCE, f"same state ({PATH_TOLERANCE:.1g})")
    distance.set_ylabel(
        f"|z_t from a random start - z_T| / |z_T|\n(farthest of {audit.n_starts} starts, log scale)"
    )

    _draw_ends(ends, audit)
    head, *checks, batch = [line.removeprefix("audit: ") for line in audit.verdict.splitlines()]
    for axes, text in zip((error, residual, distance), checks, strict=True):
        axes.set_title(textwrap.fill(text, 72), fontsize="small", loc="left")
    ends.set_title("where these runs end", fontsize="small", loc="left")
    words = textwrap.fill(f"{head} {batch[0].upper()}{batch[1:]}", 130)
    figure.suptitle(f"{title}: {words}", fontsize="medium")
    return figure


def _tolerance(axes: "Axes", value: float, label: str) -> None:
    value = max(value, _SMALL)
    axes.axhspan(value / 10, value, color="gray", alpha=0.15, lw=0)
    axes.axhline(value, color="black", lw=1, ls="--", label=label)
    axes.legend(fontsize="small")


def _draw_ends(axes: "Axes", audit: EquilibriumAudit) -> None:
    """Draw how many samples end how far apart."""
    far = audit.path_differences.clamp(_SMALL, 1e4)  # an end at infinity stands at the right edge
    if len(far) == 0:
        axes.set_axis_off()
        return
    exponents = far.log10()
    low, high = float(exponents.min().floor()), float(exponents.max().ceil())
    edges = torch.linspace(min(low, -4.0), max(high, 0.0), 41)
    axes.hist(far.tolist(), bins=(10**edges).tolist(), color="C2")
    axes.set_xscale("log")
    axes.axvline(PATH_TOLERANCE, color="black", lw=1, ls="--")
    axes.set_xlabel("relative distance of the ends, t = T (log scale)")
    axes.set_ylabel("samples")
    axes.grid(alpha=0.3)
