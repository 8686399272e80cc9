"""Compare early exit with fixed numbers of iterations: the answers of a trained text model.

    python benchmarks/text_early_exit.py CHECKPOINT [--output FILE]

Greedy answers to the questions of the test split, in batches of 32 on the CPU. With early exit a
text leaves the batch, for the token in question, once the relative residual of its state is at most
a tolerance. Each tolerance is held against the smallest fixed t whose exact match is at most 0.01
lower, among all t = 1, 2, 3, ...; the tolerance that decides is chosen on the validation split: the
cheapest whose exact match there is at most 0.01 below the best of all t. Settings take turns, batch
by batch, and ratios are within a batch. Operations are those of the core's products, by formula;
prelude, coda and head, which early exit leaves alone, are part of the seconds.
"""

import argparse
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from lit_implicit.reporting.report import count_parameters, environment, write_json
from solvers_report import console, target_table
from solvers_targets import Target, target
from text_case import Setting, read_cases
from text_rows import links_table, measured, rows_table

EQUAL = 0.01
"""Exact matches that differ by no more count as equal."""

LIMIT = 0.8
"""Of the operations at the smallest fixed t of equal exact match."""


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write."""
    given = _arguments(args)
    torch.set_num_threads(given.threads)
    out, load_average = console(), [os.getloadavg()[0]]
    cases = read_cases(given.checkpoint, given.batch_size, given.n)
    early = [Setting(given.max_iter, rtol) for rtol in given.rtols]
    costs = {}
    splits: dict[str, dict[str, list[float]]] = {}
    for name, case in cases.items():
        found = [case.exact_and_flops(setting) for setting in early]
        costs[name] = [flops for _, flops in found]
        splits[name] = {
            "by_t": case.exact_by_t(given.max_iter), "by_rtol": [exact for exact, _ in found]
        }  # fmt: skip
    chosen = choose(splits["val"], costs["val"])
    by_t, by_rtol = splits["test"]["by_t"], splits["test"]["by_rtol"]
    opposite = [smallest_equal(by_t, exact) for exact in by_rtol]
    fixed = [Setting(t) for t in sorted({*given.times, *opposite})]
    against = dict(zip(early, map(Setting, opposite), strict=True))
    rows = measured(cases["test"], [*fixed, *early], against)
    for row in rows:
        row["chosen"] = row["rtol"] == early[chosen].rtol
    load_average.append(os.getloadavg()[0])
    content: dict[str, Any] = {
        "date": date.today().isoformat(), **environment(torch.device("cpu")),
        "threads": given.threads, "load_average": load_average, "checkpoint": given.checkpoint.name,
        "parameters": count_parameters(cases["test"].operator), "batch_size": given.batch_size,
        "questions": {name: len(case.numbers) for name, case in cases.items()},
        "max_iter": given.max_iter, "exact_match": splits, "rows": rows, "targets": targets(rows),
    }  # fmt: skip
    out.print(rows_table(rows, f"{content['questions']['test']} questions of the test split"))
    if cases["test"].is_corpus:
        out.print(links_table(rows))
    out.print(target_table(content["targets"]))
    out.print(f"{content['device']}, {given.threads} threads; load average "
              f"{load_average[0]:.1f} before, {load_average[1]:.1f} after")  # fmt: skip
    if given.output is not None:
        write_json(content, given.output)
        out.print(str(given.output))
    return content


def smallest_equal(by_t: Sequence[float], exact: float) -> int:
    """Return the smallest t whose exact match is not more than `EQUAL` lower; the best if none is.

    Args:
        by_t: Exact match at t = 1, 2, ...
        exact: What it is held against.
    """
    equal = [t for t, found in enumerate(by_t, start=1) if found >= exact - EQUAL - 1e-9]
    return equal[0] if equal else 1 + by_t.index(max(by_t))


def choose(exact: dict[str, list[float]], costs: Sequence[float]) -> int:
    """Return which tolerance decides: the cheapest that is as good as the best t, or the best.

    Args:
        exact: Exact matches on the validation split, by t and by tolerance.
        costs: Operations with each tolerance there.
    """
    by_rtol = exact["by_rtol"]
    goal = max(exact["by_t"]) - EQUAL - 1e-9
    good = [i for i, found in enumerate(by_rtol) if found >= min(goal, max(by_rtol))]
    return min(good, key=lambda i: costs[i])


def targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Return what early exit is to reach, with the tolerance that was chosen."""
    (row,) = (row for row in rows if row["chosen"])
    note = f"rtol {row['rtol']:g} ({row['exact_match']:.3f}) to t = {row['against']} " \
        f"({row['against_exact_match']:.3f})"  # fmt: skip
    return [target("core operations, early exit / fixed t", LIMIT, row["flops_ratio"], note)]


def _arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="of a trained looped transformer")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--n", type=int, help="most questions of each split; default: all")
    parser.add_argument("--max_iter", type=int, default=32, help="most iterations per token")
    parser.add_argument(
        "--times", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8, 12, 16, 32], help="fixed t"
    )
    parser.add_argument("--rtols", type=float, nargs="+", default=[0.3, 0.1, 0.03, 0.01])
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    return parser.parse_args(args)


if __name__ == "__main__":
    main()
