"""What the solvers are to reach, what was measured, and whether it was reached."""

from collections.abc import Sequence
from typing import Any

from solvers_comparing import mean_ratio
from solvers_methods import OURS

Target = dict[str, Any]


def target(name: str, limit: float, measured: float | None, note: str = "") -> Target:
    reached = None if measured is None else measured <= limit
    return {"target": name, "limit": limit, "measured": measured, "reached": reached, "note": note}


def _worst(entries: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """Return the largest median ratio and whose it is; infinite where only rivals reach a goal."""
    found = [
        (e["ratio"]["median"] if "ratio" in e else float("inf"), f"{e['problem']}, {e['goal']:.0e}")
        for e in entries
        if "ratio" in e or (e["rival"] and not e["ours"])
    ]
    return max(found, default=(None, ""))


def targets(content: dict[str, Any]) -> list[Target]:
    """Return a line per target, from the content of the results; None where not measured."""
    forward, training = content["forward"], content["training_torchdeq"]
    outside = [e for e in forward if e.get("rival_share_outside", 0) > 0.5]
    mean = mean_ratio(forward)
    found = [
        target("forward solve / best rival, worst problem", 1.05, *_worst(forward)),
        target("the same, where over half of its time is outside G", 0.67, *_worst(outside)),
        target("the same, geometric mean", 0.7, mean if mean == mean else None),
        target("training step / torchdeq, worst problem", 0.6, *_worst(training)),
    ]
    work = {row["solver"]: row for row in content.get("work_outside", [])}
    for name, limit in (("Picard", 6.0), ("Anderson", 20.0)):
        if name in work:
            what = f"state passes an iteration, {name}, 16 x 4096"
            found.append(target(what, limit, work[name]["passes"]))
            what = f"host looks an iteration, {name}"
            found.append(target(what, 0.25, work[name]["looks"], _LOOKS))
    for row in content.get("skewed_batch", []):
        note = "iterations {:.0f}, and {:.0f} of the slow".format(*row["iterations"])
        what = f"10 % slow samples, with / without compaction, {row['solver']}"
        found.append(target(what, 0.4, row["ratio"]["median"], note))
    memory = max(content.get("memory", []), key=lambda row: row["ratio"], default=None)
    if memory:
        what = "peak memory of a training step, 200 iterations / 10"
        found.append(target(what, 1.1, memory["ratio"], memory["solver"]))
    for row in content.get("curves", []):
        what = f"{row['curve']}, one pass / restarts"
        found.append(target(what, 0.1, row["ratio"]["median"]))
    apart = max(content.get("alone", []), key=lambda row: row["apart"], default=None)
    if apart:
        what = f"{OURS}: answer in a batch / alone, relative difference"
        found.append(target(what, 1e-10, apart["apart"], f"{apart['solver']}, float64"))
    return found


_LOOKS = "counted on the CPU as if it were a GPU"
