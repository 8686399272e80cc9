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


def problem_table(part: str, rows: Sequence[dict[str, Any]], note: str = "") -> Any:
    """Return the table of all methods on one problem with one goal; empty columns are left out."""
    columns: dict[str, Any] = {
        "error": lambda row: f"{row['error']:.0e}",
        "residual": lambda row: f"{row['relative_residual']:.0e}",
        "G": lambda row: str(row["n_calls"]),
        "vjp": lambda row: str(row["n_vjp"]),
        "time": lambda row: with_unit(row["seconds"]["median"], "s"),
        "quartiles": lambda row: "{q25:.2g}-{q75:.2g}".format(
            **{k: v / row["seconds"]["median"] for k, v in row["seconds"].items()}
        ),
        "MiB": lambda row: f"{row['peak_bytes'] / 2**20:.1f}",
        "passes": lambda row: f"{row['passes_per_iteration']:.1f}",
        "ops": lambda row: f"{row['ops_per_iteration']:.1f}",
        "looks": lambda row: f"{row['looks_per_iteration']:.1f}",
    }
    solved = [row for row in rows if row["seconds"]]
    columns = {name: show for name, show in columns.items() if solved and _has(show, solved[0])}
    lines = [
        (f"{row['library']} {row['method']}", *(show(row) for show in columns.values()))
        for row in solved
    ]
    made = table(f"{part}: {_title(rows[0], note)}", ("method", *columns), lines, 1)
    missed = [row for row in rows if not row["seconds"]]
    made.caption = "; ".join(map(_failure, missed))
    made.caption_justify = "left"
    return made


def _title(row: dict[str, Any], note: str) -> str:
    return f"{row['problem']}, error at most {row['goal']:.0e}{note and f' ({note})'}"


def _has(show: Any, row: dict[str, Any]) -> bool:
    try:
        return bool(show(row))
    except KeyError:
        return False


def _failure(row: dict[str, Any]) -> str:
    """Say what became of a method that misses the goal."""
    failed = row["failed"]
    why = failed["failure"] and f", then {failed['failure']}"
    best = f"best error {failed['error']:.0e} at rtol {failed['rtol']:.0e}{why}"
    return f"missed by {row['library']} {row['method']}: {best}"


def comparison_table(title: str, entries: Sequence[dict[str, Any]]) -> Any:
    """Return the table of our best method against the best rival, problem by problem."""
    heads = ["problem", "error", "best rival", "ours", "ours / rival"]
    with_share = any("rival_share_outside" in entry for entry in entries)
    lines = []
    for entry in entries:
        line = [
            entry["problem"], f"{entry['goal']:.0e}", entry["rival"] or "none reaches it",
            entry["ours"] or "misses it", spread(entry["ratio"]) if "ratio" in entry else "",
        ]  # fmt: skip
        if with_share:
            line.append(f"{entry.get('rival_share_outside', float('nan')):.0%}")
        lines.append(line)
    return table(title, heads + ["outside G"] * with_share, lines, 4)


def target_table(found: Sequence[dict[str, Any]]) -> Any:
    """Return the table of what was to be reached."""
    words = {True: "yes", False: "no", None: "not measured"}
    lines = [
        (
            line["target"], f"{line['limit']:.3g}",
            "" if line["measured"] is None else f"{line['measured']:.3g}",
            words[line["reached"]], line["note"],
        )
        for line in found
    ]  # fmt: skip
    return table("Targets", ("target", "at most", "measured", "reached", "note"), lines, 1)
