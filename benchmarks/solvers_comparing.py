"""Our best method against the best of the rivals, problem by problem."""

from collections.abc import Collection, Sequence
from typing import Any

from solvers_methods import OURS
from solvers_timing import geometric_mean, ratio


def compare(
    rows: Sequence[dict[str, Any]], libraries: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return for each problem and goal our best method, the best rival and their ratio.

    A rival is any library but ours, and the plain loop; not the oracle, which needs no test. The
    best is the one of the least median; ratios are those of the times round by round.

    Args:
        rows: Of one measurement.
        libraries: The rivals; None means all.
    """
    found = []
    for key in dict.fromkeys((row["problem"], row["goal"]) for row in rows):
        timed = [row for row in rows if (row["problem"], row["goal"]) == key and row["seconds"]]
        free = next((row for row in timed if row["method"] == "oracle"), None)
        ours = [row for row in timed if row["library"] == OURS]
        rivals = [
            row
            for row in timed
            if row["library"] != OURS
            and row is not free
            and (libraries is None or row["library"] in libraries)
        ]
        entry: dict[str, Any] = {"problem": key[0], "goal": key[1], "ours": None, "rival": None}
        if ours:
            best = min(ours, key=_median)
            entry["ours"] = best["method"]
        if rivals:
            rival = min(rivals, key=_median)
            entry["rival"] = f"{rival['library']}: {rival['method']}"
            if free is not None:
                # Calls of G alone, as fast as a loop makes them.
                call = _median(free) / free["n_calls"]
                entry["rival_share_outside"] = max(
                    0.0, 1 - rival["n_calls"] * call / _median(rival)
                )
        if ours and rivals:
            entry["ratio"] = ratio(best["seconds_each"], rival["seconds_each"])
            entry["ratios"] = {
                row["method"]: ratio(row["seconds_each"], rival["seconds_each"]) for row in ours
            }
        found.append(entry)
    return found


def _median(row: dict[str, Any]) -> float:
    median: float = row["seconds"]["median"]
    return median


def mean_ratio(entries: Sequence[dict[str, Any]], method: str | None = None) -> float:
    """Return the geometric mean of the median ratios; NaN if there is none.

    Args:
        entries: From `compare`.
        method: One of ours; None means the best on each problem.
    """
    if method is None:
        return geometric_mean([e["ratio"]["median"] for e in entries if "ratio" in e])
    return geometric_mean(
        [e["ratios"][method]["median"] for e in entries if method in e.get("ratios", {})]
    )
