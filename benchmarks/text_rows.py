"""The rows and tables of the benchmark of early exit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lit_implicit.reporting.units import with_unit
from solvers_report import spread, table
from solvers_timing import quartiles, ratio
from text_case import Case, Setting, answers_in_turns

_SECONDS = ("wall_s", "process_s")


def measured(
    case: Case, settings: Sequence[Setting], against: Mapping[Setting, Setting]
) -> list[dict[str, Any]]:
    """Return a row per setting.

    Args:
        case: The questions.
        settings: Fixed numbers of iterations and tolerances.
        against: Which fixed number each tolerance is held against.
    """
    taken: dict[Setting, list[dict[str, Any]]] = defaultdict(list)
    for setting, found in answers_in_turns(case, settings):
        taken[setting].append(found)
    rows = {setting: _row(case, setting, found) for setting, found in taken.items()}
    for setting, other in against.items():
        row, base = rows[setting], rows[other]
        row |= {
            "against": other.n_iter, "against_exact_match": base["exact_match"],
            "flops_ratio": row["flops"] / base["flops"],
        }  # fmt: skip
        for name in _SECONDS:
            pair = ([found[name] for found in taken[key]] for key in (setting, other))
            row[f"{name[:-2]}_ratio"] = ratio(*pair)
    return list(rows.values())


def _row(case: Case, setting: Setting, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over answers, and quartiles over batches of the seconds of an answer."""
    right = torch.cat([part["right"] for part in found])
    n_iter = torch.cat([part["made"].n_iter for part in found])
    flops = torch.cat([part["made"].flops for part in found])
    row = {
        "n_iter": setting.n_iter, "rtol": setting.rtol, "exact_match": float(right.mean()),
        "n_iter_mean": float(n_iter.mean()), "flops": float(flops.mean()),
        **{name: quartiles([part[name] for part in found]) for name in _SECONDS},
    }  # fmt: skip
    if case.is_corpus:
        links = case.links()
        row["by_links"] = {}
        for kind in sorted(set(links), key=lambda n: -1 if n is None else n):
            of_kind = torch.tensor([n == kind for n in links])
            row["by_links"]["none named" if kind is None else f"{kind} links"] = {
                "exact_match": float(right[of_kind].mean()),
                "n_iter_mean": float(n_iter[of_kind].mean()),
            }
    return row


def rows_table(rows: Sequence[dict[str, Any]], title: str) -> Any:
    """Return the table of all settings; the tolerance that was chosen is marked."""
    heads = ("iterations", "exact match", "mean t", "core FLOPs", "wall", "CPU", "to t", "FLOPs",
             "wall, ratio", "CPU, ratio")  # fmt: skip
    lines: list[list[str] | None] = []
    for i, row in enumerate(rows):
        if i and row["rtol"] is not None and rows[i - 1]["rtol"] is None:
            lines.append(None)  # a rule between fixed numbers and tolerances
        lines.append([
            _name(row) + " *" * bool(row.get("chosen")), f"{row['exact_match']:.3f}",
            f"{row['n_iter_mean']:.2f}", with_unit(row["flops"], ""),
            with_unit(row["wall_s"]["median"], "s"), with_unit(row["process_s"]["median"], "s"),
        ])  # fmt: skip
        if "against" in row:
            lines[-1] += [
                str(row["against"]), f"{row['flops_ratio']:.2f}", spread(row["wall_ratio"]),
                spread(row["process_ratio"]),
            ]  # fmt: skip
    made = table(f"{title}; times and operations of an answer", heads, lines, 1)
    made.caption = "to t: the smallest fixed t of equal exact match; *: chosen on validation"
    return made


def links_table(rows: Sequence[dict[str, Any]]) -> Any:
    """Return exact match, and mean iterations with a tolerance, by the links of the chain."""
    kinds = list(rows[0]["by_links"])
    lines = []
    for row in rows:
        parts = row["by_links"].values()
        is_early = row["rtol"] is not None
        lines.append([_name(row), *(
            f"{p['exact_match']:.3f}" + (f" (t {p['n_iter_mean']:.2f})" if is_early else "")
            for p in parts
        )])  # fmt: skip
    return table("Exact match by the links of the chain", ("iterations", *kinds), lines, 1)


def _name(row: dict[str, Any]) -> str:
    return str(Setting(row["n_iter"], row["rtol"]))
