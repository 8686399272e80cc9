"""The picture of a regularity report: contraction, slope in x, shells, and the bound."""

import math
from typing import TYPE_CHECKING

import torch

from lit_implicit.probes import RegularityReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_regularity(report: RegularityReport, title: str) -> "Figure":
    """Draw four panels; one without data says why.

    Args:
        report: The report.
        title: Text above the picture: model, stage.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    panels = figure.subplots(2, 2).flat
    draws = (_draw_contraction, _draw_slope, _draw_shells, _draw_bound)
    for axes, draw in zip(panels, draws, strict=True):
        draw(axes, report)
    left_out = f", {report.n_left_out} without a fixed point left out" * (report.n_left_out > 0)
    figure.suptitle(
        f"{title}\nregularity at {len(report.factor)} fixed points{left_out}; all estimates are "
        "from below",
        fontsize="medium",
    )
    return figure


def _draw_contraction(axes: "Axes", report: RegularityReport) -> None:
    axes.set_title("Does G contract in z?", fontsize="medium")
    groups = {"at z*": report.factor}
    for number, radius in enumerate(report.radii):
        groups[f"{radius:g} |z*| away"] = report.factor_near[:, number]
    groups = {name: values[values.isfinite()].cpu() for name, values in groups.items()}
    everything = torch.cat(list(groups.values()))
    if not len(everything):
        _say(axes, "no sample reached a fixed point")
        return
    low, high = min(float(everything.min()), 1.0), max(float(everything.max()), 1.0)
    edge = 0.05 * (high - low) or 0.05
    bins = torch.linspace(max(low - edge, 0.0), high + edge, 25)
    for number, (name, values) in enumerate(groups.items()):
        style = {"histtype": "stepfilled", "alpha": 0.5} if number == 0 else {"histtype": "step"}
        axes.hist(values.numpy(), bins=bins.tolist(), color=f"C{number}", label=name, **style)
    axes.axvline(1, color="black", ls="--", lw=1, label="1: no contraction")
    axes.set_xlabel("contraction factor |dG/dz|")
    axes.set_ylabel("samples")
    axes.legend(fontsize="small")


def _draw_slope(axes: "Axes", report: RegularityReport) -> None:
    axes.set_title("Does its slope in x grow at most linearly with |z|?", fontsize="medium")
    sizes, slopes = report.size.cpu(), report.slope.cpu()
    sound = slopes.isfinite()
    if not sound.any():
        if len(report.factor):
            _say(axes, "not measured:\nthese data hold no perturbations")
        else:
            _say(axes, "not measured:\nno sample reached a fixed point")
        return
    for number, scale in enumerate(report.scales):
        seen = sound[:, number]
        axes.plot(sizes[seen, number], slopes[seen, number], ls="", marker=".", ms=4,
                  color="C1" if scale == 1 else "C0")  # fmt: skip
    axes.plot([], [], ls="", marker=".", color="C1", label="at z*")
    axes.plot([], [], ls="", marker=".", color="C0", label="at multiples of z*")
    a, b = report.envelope
    b = b if b > 1e-9 else 0.0  # rounding
    least = _smallest(sizes)
    reach = torch.cat([torch.zeros(1), torch.logspace(-1, math.log10(sizes.max() / least), 60)])
    reach = reach * least
    label = f"{a:.3g} + {b:.3g} |z|"
    axes.plot(reach, a + b * reach, color="black", lw=1, ls="--", label=label)
    axes.set_xscale("symlog", linthresh=least)
    axes.set_yscale("symlog", linthresh=_smallest(slopes))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("|z|  (log scale)")
    axes.set_ylabel("|G(z, x + d) - G(z, x)| / |d|  (log scale)")
    _note(axes, f"growth by z ~ |z|^{_number(report.growth_exponent)} at large |z|")
    axes.legend(fontsize="small", loc="lower right")


def _draw_shells(axes: "Axes", report: RegularityReport) -> None:
    axes.set_title("Is it bounded where the target is singular?", fontsize="medium")
    if not report.distances:
        _say(axes, "not measured:\nthe task states no singular set")
        return
    distances, target = torch.tensor(report.distances), report.shell_target_slope.cpu()
    axes.loglog(distances, report.shell_slope.cpu(), marker="o", label="G(z, .), z fixed")
    axes.loglog(distances, target, marker=".", ls="--", color="gray", label="the target")
    axes.set_xlabel("distance to the singular set  (log scale)")
    axes.set_ylabel("largest slope in x  (log scale)")
    _note(axes, f"slope ~ distance^{_number(report.shell_exponent)} on the closest three")
    axes.legend(fontsize="small", loc="upper right")


def _draw_bound(axes: "Axes", report: RegularityReport) -> None:
    axes.set_title("Does slope / (1 - factor) bound the slope of z*?", fontsize="medium")
    if not len(report.factor):
        _say(axes, "not measured:\nno sample reached a fixed point")
        return
    if not report.applicable.any():
        _say(axes, f"not applicable:\n{report.n_not_applicable} pairs with a factor of 1 or more,\n"
                   f"{report.n_unresolved} not solved accurately enough")  # fmt: skip
        return
    bound, measured = report.bound.cpu(), report.measured.cpu()
    for number, mode in enumerate(report.modes):
        seen = report.applicable[:, number].cpu()
        axes.plot(bound[seen, number], measured[seen, number], ls="", marker=".", label=mode)
    values = torch.cat([part[report.applicable.cpu()] for part in (bound, measured)])
    positive = values[values > 0]
    if len(positive):
        ends = [float(positive.min()) / 1.5, float(positive.max()) * 1.5]
        axes.plot(ends, ends, color="black", lw=1, ls="--", label="equal")
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("bound: slope of G(z*, .) / (1 - factor)  (log scale)")
    axes.set_ylabel("|z*(x + d) - z*(x)| / |d|  (log scale)")
    if report.n_not_applicable:
        _note(axes, f"{report.n_not_applicable} pairs without a bound: factor 1 or more")
    axes.legend(fontsize="small", loc="lower right")


def _say(axes: "Axes", words: str) -> None:
    """Put words where a curve would be."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color="gray")


def _note(axes: "Axes", words: str) -> None:
    """Add a line to the title, where it covers nothing."""
    axes.set_title(f"{axes.get_title()}\n{words}", fontsize="medium")


def _number(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def _smallest(values: torch.Tensor) -> float:
    positive = values[(values > 0) & values.isfinite()]
    return float(positive.min()) if len(positive) else 1.0
