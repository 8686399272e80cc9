"""Pictures of the curves: axes named, units and log scales said, number of samples in the title."""

from typing import TYPE_CHECKING

import torch

from lit_implicit.probes import LipschitzCurve, TestTimeCurve
from lit_implicit.reporting.units import cost_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_test_time_curve(curve: TestTimeCurve, title: str, trained: int | None = None) -> "Figure":
    """Draw the error against the iterations, below it the scores, and the relative residual.

    What an iteration costs stands in the title: time and operations grow with t in a straight line.
    An error that falls by more than a factor of 50 is drawn on a log scale.

    Args:
        curve: The curve.
        title: Text above the picture: model, stage, solver.
        trained: Number of iterations in training, drawn as a vertical line.
    """
    figure, (top, *middle, bottom) = _axes(2 + len(curve.scores))
    t = torch.arange(len(curve.error_mean))
    low = (curve.error_mean - curve.error_std).clamp(min=0)
    top.fill_between(
        t, low, curve.error_mean + curve.error_std, alpha=0.2, label="mean ± standard deviation"
    )
    top.plot(t, curve.error_mean, marker=".", label="mean")
    top.plot(t, curve.error_median, ls=":", color="black", label="median")
    _scale_errors(top, curve.error_mean)
    cost = cost_in_words(curve.flops.tolist(), curve.seconds.tolist())
    top.set_title(f"{title}\n{curve.n_samples} samples; {cost}", fontsize="medium")
    for number, (axes, (name, mean)) in enumerate(zip(middle, curve.scores.items(), strict=True)):
        axes.plot(t, mean, marker=".", color=f"C{number + 2}")
        axes.set_ylabel(f"{name}, mean")
    bottom.semilogy(t, curve.relative_residual.clamp(min=1e-16), marker=".", color="C1")
    bottom.set_ylabel("median relative residual\n|G(z) - z| / |G(z)|  (log scale)")
    bottom.set_xlabel("iterations t")
    _mark_training((top, *middle, bottom), trained)
    top.legend(fontsize="small")
    return figure


def draw_lipschitz_curve(curve: LipschitzCurve, title: str, trained: int | None = None) -> "Figure":
    """Draw the estimates of L_t against the iterations; dashed, the slope of the labels.

    A color per mode: pairs as a line with dots or, under derivatives, as a broad one; derivatives
    as a thin line of dots and dashes; the worst pairs as triangles at the t they were sought at.

    Args:
        curve: The curve.
        title: Text above the picture: model, stage, solver.
        trained: Number of iterations in training, drawn as a vertical line.
    """
    figure, (axes,) = _axes(1)
    # Where both are drawn, they often coincide: the thin line must be seen on the broad one.
    style = {"lw": 5, "alpha": 0.35} if curve.jacobian else {"marker": "."}
    for number, mode in enumerate(curve.target_slopes):
        color, of = f"C{number}", f"({curve.aggregates[mode]} of {curve.n_samples[mode]})"
        if mode in curve.slopes:
            axes.plot(curve.slopes[mode], color=color, label=f"{mode}, pairs {of}", **style)
        if mode in curve.jacobian:
            label = f"{mode}, {'refined ' if curve.refine else ''}Jacobian {of}"
            axes.plot(curve.jacobian[mode], ls=(0, (5, 1, 1, 1)), lw=1.5, color=color, label=label)
        if curve.target_slopes[mode] > 0:
            axes.axhline(curve.target_slopes[mode], ls="--", lw=1, color=color)
    if curve.worst_pair is not None:
        at = curve.worst_pair.isfinite().nonzero()[:, 0]
        n = max(curve.n_samples.values(), default=0)
        label = f"worst pairs ({curve.worst_pair_aggregate} of {n})"
        axes.plot(at, curve.worst_pair[at], ls="", marker="^", ms=8, mfc="none", color="black",
                  label=label)  # fmt: skip
    axes.plot([], [], ls="--", lw=1, color="black", label="slope of the labels, by pairs")
    # Linear below the smallest slope of interest, so that L_0 = 0 has its place.
    axes.set_yscale("symlog", linthresh=_smallest(curve))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("iterations t")
    axes.set_ylabel(f"{_quotients(curve)}\n(estimate from below of L_t, log scale)")
    axes.set_title(title, fontsize="medium")
    _mark_training((axes,), trained)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _scale_errors(axes: "Axes", mean: torch.Tensor) -> None:
    known = mean[mean.isfinite() & (mean > 0)]
    if len(known) and float(known.max()) > 50 * float(known.min()):
        axes.set_yscale("log")
        axes.set_ylim(bottom=float(known.min()) / 3)
        axes.set_ylabel("task error (log scale)")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("task error")


def _quotients(curve: LipschitzCurve) -> str:
    """Say what is drawn."""
    pairs = bool(curve.slopes) or curve.worst_pair is not None
    parts = ["|y_t(x + d) - y_t(x)| / |d|"] if pairs else []
    return "\n".join(parts + (["|dy_t/dx d| / |d|"] if curve.jacobian else []))


def _axes(rows: int) -> tuple["Figure", tuple["Axes", ...]]:
    # A figure of its own, not pyplot's: nothing to close, no window, safe in threads.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6 + 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for one in axes:
        one.grid(alpha=0.3)
        one.xaxis.get_major_locator().set_params(integer=True)
    return figure, tuple(axes)


def _mark_training(axes: tuple["Axes", ...], trained: int | None) -> None:
    if trained is None:
        return
    for one in axes:
        one.axvline(trained, color="gray", lw=1, ls="-.", label=f"training budget ({trained})")


def _smallest(curve: LipschitzCurve) -> float:
    lines = [*curve.slopes.values(), *curve.jacobian.values()]
    lines += [] if curve.worst_pair is None else [curve.worst_pair]
    values = torch.cat([slopes[1:] for slopes in lines]) if lines else torch.zeros(0)
    positive = values[(values > 0) & values.isfinite()]
    return float(positive.min()) if len(positive) else 1.0
