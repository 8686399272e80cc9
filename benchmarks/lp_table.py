"""The rows and the table of the benchmark of linear programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.metrics import relative_error
from lp_highs import Answers

TOLERANCES = (1e-2, 1e-3, 1e-4)
BASE = "HiGHS simplex"


@dataclass(frozen=True, eq=False)
class Entry:
    """A method at a tolerance, and how many products with A or its transpose it takes.

    Args:
        method: Its name.
        tolerance: Relative KKT residual at which it stops; None for an exact method.
        run: Solves all programs.
        sweeps: Products of an iteration, certificates in proportion; None where they mean nothing.
        sweeps_once: Products before the first iteration.
    """

    method: str
    tolerance: float | None
    run: Callable[[], Answers]
    sweeps: float | None = None
    sweeps_once: float = 0.0


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles, interpolated."""
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "q25": low, "q75": high}


def rows(
    case: str,
    entries: Sequence[Entry],
    seconds: Sequence[Sequence[float]],
    answers: Sequence[Answers],
    batch: Any,
) -> list[dict[str, Any]]:
    """Return a row per entry.

    Args:
        case: Its name.
        entries: The methods; the first is what ratios are to.
        seconds: Of each entry, one for each repeat.
        answers: Of each entry.
        batch: All programs and their solutions, in float64.
    """
    x = LPFeatures.of(batch)
    matrix, n = x.matrix(), x.n
    found = []
    for entry, taken, answer in zip(entries, seconds, answers, strict=True):
        y, dual = answer.y.double(), answer.dual.double()
        count, worst = answer.n_iter.double(), kkt(x, matrix, y, dual).worst
        goal = min(TOLERANCES) if entry.tolerance is None else entry.tolerance
        found.append(
            {
                "case": case,
                "method": entry.method,
                "tolerance": entry.tolerance,
                "seconds": quartiles(taken),
                "per_second": n / float(np.median(taken)),
                "ratio": quartiles([a / b for a, b in zip(taken, seconds[0], strict=True)]),
                "solved": (worst <= goal).double().mean().item(),
                "worst_kkt": worst.max().item(),
                "n_iter_mean": count.mean().item(),
                "n_iter_max": count.max().item(),
                "sweeps_mean": entry.sweeps
                and entry.sweeps_once + entry.sweeps * count.mean().item(),
                "error_mean": relative_error(y, batch).mean().item(),
                "seconds_each": list(taken),
            }
        )
    return found


def show(found: Sequence[dict[str, Any]], title: str) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    names = ("case", "method", "KKT", "seconds", "quartiles", "LPs/s", "to HiGHS", "solved",
             "iterations", "most", "sweeps", "error")  # fmt: skip
    table = Table()
    for name in names:
        table.add_column(name, justify="left" if name in names[:2] else "right", no_wrap=True)
    for row in found:
        if row["method"] == BASE and table.row_count:
            table.add_section()
        seconds = row["seconds"]
        table.add_row(
            row["case"], row["method"], f"{row['tolerance']:.0e}" if row["tolerance"] else "exact",
            f"{seconds['median']:.3g}", f"{seconds['q25']:.3g}-{seconds['q75']:.3g}",
            f"{row['per_second']:.0f}", f"{row['ratio']['median']:.3g}", f"{row['solved']:.1%}",
            f"{row['n_iter_mean']:.1f}", f"{row['n_iter_max']:.0f}",
            f"{row['sweeps_mean']:.0f}" if row["sweeps_mean"] else "", f"{row['error_mean']:.1e}",
        )  # fmt: skip
    print(title)
    Console(highlight=False, width=140).print(table)
