"""The tables of the benchmark of solvers."""

from collections.abc import Sequence
from typing import Any

from lit_implicit.reporting.units import with_unit

WIDTH = 120


def console() -> Any:
    """Return a console of the width that all tables fit."""
    from rich.console import Console

    return Console(highlight=False, width=WIDTH)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str] | None], left: int) -> Any:
    """Return a table; the first `left` columns are texts, a row of None is a line.

    Args:
        title: Above it.
        heads: Names of the columns.
        rows: Texts.
        left: How many columns are aligned to the left.
    """
    from rich.table import Table

    made = Table(title=title, title_justify="left", pad_edge=False, padding=(0, 0, 0, 1))
    for i, head in enumerate(heads):
        made.add_column(
            head, justify="left" if i < left else "right", overflow="fold", no_wrap=i == 0
        )
    for row in rows:
        if row is None:
            made.add_section()
        else:
            made.add_row(*row)
    return made


def spread(values: dict[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{values['median']:.2f} [{values['q25']:.2f}-{values['q75']:.2f}]"


def problem_table(rows: Sequence[dict[str, Any]], note: str) -> Any:
    """Return the table of all methods on one problem with one goal."""
    heads = ("method", "error", "residual", "G", "vjp", "time", "quartiles", "MiB", "passes", "ops",
             "looks")  # fmt: skip
    lines: list[Sequence[str] | None] = []
    for row in rows:
        label = f"{row['library']} {row['method']}"
        if not row["seconds"]:
            failed = row["failed"]
            why = failed["failure"] or f"missed it, at rtol {failed['rtol']:.0e}"
            lines.append((label, f"{failed['error']:.0e}", why))
            continue
        time = row["seconds"]
        lines.append((
            label, f"{row['error']:.0e}", f"{row['relative_residual']:.0e}",
            str(row["n_calls"]), str(row.get("n_vjp", "")), with_unit(time["median"], "s"),
            f"{time['q25'] / time['median']:.1f}-{time['q75'] / time['median']:.1f}",
            f"{row['peak_bytes'] / 2**20:.1f}", *(
                f"{row[name]:.1f}" if name in row else ""
                for name in ("passes_per_iteration", "ops_per_iteration", "looks_per_iteration")
            ),
        ))  # fmt: skip
    title = f"{rows[0]['problem']}, error at most {rows[0]['goal']:.0e}{note and f' ({note})'}"
    return table(title, heads, lines, 1)


def comparison_table(title: str, entries: Sequence[dict[str, Any]]) -> Any:
    """Return the table of our best method against the best rival, problem by problem."""
    lines = []
    for entry in entries:
        share = entry.get("rival_share_outside")
        lines.append((
            entry["problem"], f"{entry['goal']:.0e}", entry["rival"] or "none reaches it",
            entry["ours"] or "misses it",
            spread(entry["ratio"]) if "ratio" in entry else "",
            "" if share is None else f"{share:.0%}",
        ))  # fmt: skip
    heads = ("problem", "goal", "best rival", "ours", "ours / rival", "its time outside G")
    return table(title, heads, lines, 4)
