"""The tables of the benchmark of flows, and what it is to reach."""

from collections.abc import Sequence
from typing import Any

from flow_methods import RIVAL
from lit_implicit.reporting.units import with_unit
from solvers_methods import OURS
from solvers_report import spread, table
from solvers_targets import Target, target
from solvers_timing import ratio

LIMIT = 1 / 1.5
"""Of the time of torchdeq's fastest."""


def step_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Return the table of a kind of gradient; ratios are to torchdeq's fastest of the part."""
    lines: list[Sequence[str] | None] = []
    for row in rows:
        name = [row["part"], f"{row['library']} {row['method']}"]
        if not row["seconds"]:
            lines.append([*name, f"{row['failed']['error']:.0e}", "", "", "", "missed", ""])
            continue
        rival = _best(rows, row["part"], row["gradient"], RIVAL)
        apart = spread(ratio(row["seconds_each"], rival["seconds_each"])) if rival else ""
        lines.append([
            *name, f"{row['error']:.1e}", f"{row['rtol']:.0e}", str(row["n_calls"]),
            str(row["n_vjp"]), with_unit(row["seconds"]["median"], "s"), apart,
        ])  # fmt: skip
    heads = ("part", "method", "error", "rtol", "G", "vjp", "time", "time / torchdeq's")
    title = f"Training step, {rows[0]['gradient']} gradients"
    return table(f"{title}; same error: at most {rows[0]['goal']:.0e}", heads, lines, 2)


def targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Return a line per kind of gradient and part: the best of ours over the best of torchdeq's."""
    found = []
    for kind, part in dict.fromkeys((row["gradient"], row["part"]) for row in rows):
        ours, rival = (_best(rows, part, kind, library) for library in (OURS, RIVAL))
        measured = ours and rival and ratio(ours["seconds_each"], rival["seconds_each"])["median"]
        note = f"{ours['method'] if ours else 'missed'}; {rival['method'] if rival else 'missed'}"
        found.append(target(f"{kind} gradients, {part} / torchdeq", LIMIT, measured, note))
    return found


def _best(
    rows: Sequence[dict[str, Any]], part: str, kind: str, library: str
) -> dict[str, Any] | None:
    here = [r for r in rows if (r["part"], r["gradient"], r["library"]) == (part, kind, library)]
    return min(
        (r for r in here if r["seconds"]), key=lambda r: r["seconds"]["median"], default=None
    )
