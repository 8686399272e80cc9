"""The paper's Figure 7: L_t in the five modes and the error, against the iterations t."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_implicit.errors import DataError
from lit_implicit_lp.generator import MODES
from lit_implicit_lp.table_runs import TableRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_ITER = 20
"""Iterations in the figure, where the run measured as many."""

Columns = Mapping[str, Sequence[float]]


def write_figure(run: TableRun, folder: Path) -> Path:
    """Write `figure7_width<width>_<run>.png` and `.csv`; return the path of the picture.

    The CSV ends with the slope of the exact solutions.

    Raises:
        DataError: If the run has no curves, in all five modes.
    """
    columns, target_slopes = read_curves(run)
    path = folder / f"figure7_width{run.width}_{run.recorded.folder.name}.png"
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        writer.writerow(["exact", "", "", *(target_slopes[mode] for mode in MODES)])
    title = f"Implicit graph network of width {run.width}, test programs"
    draw_figure(columns, target_slopes, title).savefig(path, dpi=120)
    return path


def read_curves(run: TableRun) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Read t, error and L_t in the modes of an implicit run, up to t = 20.

    Returns:
        The columns `t, error_mean, error_std, lipschitz_A, ...`; and by mode the slope of the exact
        solutions.

    Raises:
        DataError: If the run has no such curves, in all five modes.
    """
    error = _curve(run, "test_test_time_curve")["columns"]
    lipschitz = _curve(run, "test_lipschitz_curve")
    names = [f"lipschitz_{mode}" for mode in MODES]
    if missing := [name for name in names if name not in lipschitz["columns"]]:
        raise DataError(
            f"The Lipschitz curve of the run {str(run.recorded.folder)!r} lacks "
            f"{', '.join(missing)}. Measure it again, with all of `data.perturb_modes`."
        )
    n = min(len(error["t"]), len(lipschitz["columns"]["t"]), N_ITER + 1)
    columns = {name: error[name][:n] for name in ("t", "error_mean", "error_std")}
    columns |= {name: lipschitz["columns"][name][:n] for name in names}
    return columns, lipschitz["settings"]["target_slopes"]


def _curve(run: TableRun, name: str) -> dict[str, Any]:
    path = run.recorded.folder / "figures" / f"{name}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(
            f"Figure 7 needs {str(path)!r}, which cannot be read: {err}. A test writes it unless "
            "the monitor is null; `lit-implicit curve` with the run's config and checkpoint does."
        ) from err
    return content


def draw_figure(columns: Columns, target_slopes: Mapping[str, float], title: str) -> "Figure":
    """Draw L_t for each mode, dashed the slope of the exact solutions; below it the error.

    Args:
        columns: As `read_curves` returns them.
        target_slopes: The same.
        title: Text above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    t = columns["t"]
    for number, mode in enumerate(MODES):
        slopes = _positive(columns[f"lipschitz_{mode}"])
        top.semilogy(t, slopes, marker=".", color=f"C{number}", label=mode)
        top.axhline(target_slopes[mode], ls="--", lw=1, color=f"C{number}")
    top.plot([], [], ls="--", lw=1, color="black", label="exact\nsolutions")
    top.set_ylabel("L_t, mean over programs of\n|y_t(x + d) - y_t(x)| / |d|  (log scale)")
    top.set_title(title, fontsize="medium")
    top.legend(title="mode", fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    mean, std = columns["error_mean"], columns["error_std"]
    low = [max(0.0, m - s) for m, s in zip(mean, std, strict=True)]
    high = [m + s for m, s in zip(mean, std, strict=True)]
    bottom.fill_between(t, low, high, alpha=0.2, label="± std over\nprograms")
    bottom.plot(t, mean, marker=".", label="mean")
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("error |y_t - y*| / (|y*| + 1)")
    bottom.set_xlabel("iterations t")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    bottom.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    return figure


def _positive(values: Sequence[float]) -> list[float]:
    """Leave out what a logarithm does not show: y_0 does not depend on A and b at all."""
    return [value if value > 0 else float("nan") for value in values]
