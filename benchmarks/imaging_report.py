"""The tables of the benchmark of deblurring, and what it is to reach."""

from collections.abc import Sequence
from typing import Any

from imaging_methods import N_FORWARD, RIVAL
from imaging_rows import FEW
from lit_implicit.reporting.units import with_unit
from solvers_methods import OURS
from solvers_report import spread, table
from solvers_targets import Target, target

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
    return table("Peak memory of a training step, by forward iterations", heads, lines, 2)


def targets(rows: Sequence[dict[str, Any]], memory: Sequence[dict[str, Any]]) -> list[Target]:
    """Return a line per target: the best of ours as accurate as deepinv, and the same settings."""
    found = []
    for problem, part in dict.fromkeys((row["problem"], row["part"]) for row in rows):
        limit = LIMITS[part.partition(",")[0]]
        here = [row for row in rows if (row["problem"], row["part"]) == (problem, part)]
        ours = [row for row in here if row["library"] == OURS and row["seconds"]]
        for fixed in (False, True):
            chosen = [row for row in ours if row["fixed"] is fixed]
            best = min(chosen, key=lambda row: row["seconds"]["median"], default=None)
            what = f"{problem}, {part}, time / deepinv's"
            note = best["method"] if best else "none is as accurate"
            measured = best["ratio"]["median"] if best else float("inf")
            # The same settings mean the same calls of the denoiser: nothing there is promised.
            found.append(target(what, limit if not fixed else 1.0, measured, note))
    for row in memory:
        if row["library"] != RIVAL:
            what = f"{row['problem']}, peak memory, {N_FORWARD} iterations / {FEW}"
            found.append(target(what, 1.15, row["ratio"], row["method"]))
    return found
