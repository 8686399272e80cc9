"""The tables of the benchmark of deblurring, and what it is to reach."""

from collections.abc import Sequence
from typing import Any

from imaging_methods import EARLY, N_FORWARD
from imaging_rows import FEW
from lit_implicit.reporting.units import with_unit
from solvers_methods import OURS
from solvers_report import spread, table
from solvers_targets import Target, target
from solvers_timing import ratio

LIMITS = {"training": 1 / 1.5, "evaluation": 1 / 3}
"""Of the time of deepinv's paper settings."""


def part_table(rows: Sequence[dict[str, Any]], note: str) -> Any:
    """Return the table of one part of a case: all methods, deepinv's paper settings first."""
    is_evaluation = rows[0]["part"] == "evaluation"
    error = "dB apart" if is_evaluation else "error"
    heads = ["method", error, "rtol", "H", "vjp", "time", "quartiles", "MiB", "time / deepinv's"]
    lines = []
    for row in rows:
        if not row["seconds"]:
            continue
        line = [
            f"{row['library']} {row['method']}",
            f"{row['error']:.4f}" if is_evaluation else f"{row['error']:.1e}",
            "" if row["rtol"] is None else f"{row['rtol']:.0e}",
            str(row["n_calls"]), str(row["n_vjp"]), with_unit(row["seconds"]["median"], "s"),
            "{q25:.2f}-{q75:.2f}".format(
                **{k: v / row["seconds"]["median"] for k, v in row["seconds"].items()}
            ),
            f"{row['peak_bytes'] / 2**20:.1f}", spread(row["ratio"]),
        ]  # fmt: skip
        if is_evaluation:
            line.insert(1, f"{row['psnr']:.2f}")
        lines.append(line)
    if is_evaluation:
        heads.insert(1, "PSNR")
    made = table(f"{rows[0]['problem']}, {rows[0]['part']} ({note})", heads, lines, 1)
    lost = [f"{row['library']} {row['method']}" for row in rows if not row["seconds"]]
    made.caption = f"missed by {', '.join(lost)}" if lost else None
    made.caption_justify = "left"
    return made


def memory_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Return the table of peaks."""
    heads = ("method", "operator", f"MiB, {FEW}", f"MiB, {N_FORWARD}", "ratio")
    lines = [
        (
            f"{row['library']} {row['method']}", row["problem"],
            *(f"{n / 2**20:.1f}" for n in row["bytes"]), f"{row['ratio']:.3f}",
        )
        for row in rows
    ]  # fmt: skip
    title = "Peak memory of a training step, by forward iterations; backward as in the paper"
    return table(title, heads, lines, 2)


def targets(rows: Sequence[dict[str, Any]], memory: Sequence[dict[str, Any]]) -> list[Target]:
    """Return a line per target, each about the best of ours; infinite where none is as accurate.

    Training is held to deepinv as accurate as it is, and at the very same settings, too. What is
    as accurate must also be no slower than deepinv with its own early stop.
    """
    found = []
    for problem, part in dict.fromkeys((row["problem"], row["part"]) for row in rows):
        here = [row for row in rows if (row["problem"], row["part"]) == (problem, part)]
        stopped = next(row for row in here if (row["library"], row["method"]) == EARLY)
        limit = LIMITS[part.partition(",")[0]]
        free, same = (_best(here, fixed) for fixed in (False, True))
        what = f"{problem}, {part}"
        found.append(_line(f"{what}: as accurate / deepinv", limit, free, here[0]))
        found.append(_line(f"{what}: as accurate / deepinv, early stop", 1.0, free, stopped))
        if part != "evaluation":
            found.append(_line(f"{what}: same settings / deepinv", limit, same, here[0]))
    for row in memory:
        if row["library"] == OURS:
            what = f"{row['problem']}: peak memory, {N_FORWARD} iterations / {FEW}"
            found.append(target(what, 1.15, row["ratio"], row["method"]))
    return found


def _best(rows: Sequence[dict[str, Any]], fixed: bool) -> dict[str, Any] | None:
    chosen = [row for row in rows if row["library"] == OURS and row["fixed"] is fixed]
    timed = [row for row in chosen if row["seconds"]]
    return min(timed, key=lambda row: row["seconds"]["median"], default=None)


def _line(what: str, limit: float, ours: dict[str, Any] | None, rival: dict[str, Any]) -> Target:
    """Return how the times of two rows compare; None where the rival has none."""
    if ours is None:
        return target(what, limit, float("inf"), "none is as accurate")
    if not rival["seconds"]:
        return target(what, limit, None, "deepinv is not as accurate")
    median = ratio(ours["seconds_each"], rival["seconds_each"])["median"]
    return target(what, limit, median, ours["method"])
