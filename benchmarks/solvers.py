"""Compare fixed-point solvers, side by side: ours, other libraries', and plain loops.

    uv run --group peers python benchmarks/solvers.py [--device cuda] [--quick] [--only PATTERN]

All methods get the same operator object, the same start and the same goal: the largest relative
error of a sample, |z - z*| / |z*|, against a fixed point known to float64. For each, the loosest
tolerance of a fixed grid that reaches the goal is taken, and there it is timed, in turns with all
others; ratios are within a turn. What reaches no goal stays in the table, with its best error. How
each library is called stands in `solvers_methods.py`; what is counted, in `solvers_counting.py`.
Run it on a machine that does nothing else.
"""

import argparse
import fnmatch
import os
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch

from lit_implicit.reporting.report import environment, write_json
from solvers_forward import compare, forward_rows
from solvers_methods import OURS, methods
from solvers_problems import Problem
from solvers_report import comparison_table, console, problem_table
from solvers_timing import geometric_mean
from solvers_zoo import problems

GOALS = (1e-3, 1e-5)


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="few problems, one goal, 3 rounds")
    parser.add_argument("--only", default="*", help="problems whose name matches this pattern")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    given = parser.parse_args(args)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # libraries' own
    device = torch.device(given.device)
    goals, rounds = (GOALS[:1], 3) if given.quick else (GOALS, given.rounds)
    chosen, versions = methods()
    out = console()
    rows: list[dict[str, Any]] = []
    load_average = [os.getloadavg()[0]]
    for problem in _chosen(given.only, given.quick, device):
        found = forward_rows(problem, chosen, goals, rounds)
        for goal in dict.fromkeys(row["goal"] for row in found):
            part = [row for row in found if row["goal"] == goal]
            out.print(problem_table(part, problem.note))
        rows += found
    load_average.append(os.getloadavg()[0])
    entries = compare(rows)
    out.print(comparison_table("Forward solve", entries))
    ratios = [entry["ratio"]["median"] for entry in entries if "ratio" in entry]
    mean = geometric_mean(ratios)
    out.print(f"Forward solve, ours over the best rival, geometric mean: {mean:.2f}")
    where = environment(device)
    where["versions"] |= versions
    content = {
        "date": date.today().isoformat(), **where, "threads": given.threads, "rounds": rounds,
        "load_average": load_average, "geometric_mean_ratio": mean, "forward": entries,
        "forward_rows": rows,
    }  # fmt: skip
    path = given.output or _path(device)
    write_json(content, path)
    out.print(f"{OURS} beside {len(versions) - 1} libraries: {path}")
    return content


def _chosen(pattern: str, quick: bool, device: torch.device) -> Iterator[Problem]:
    """Yield the problems whose name matches, made when their turn comes."""
    for name, make in problems(quick).items():
        if fnmatch.fnmatch(name, f"*{pattern.strip('*')}*"):
            torch.manual_seed(0)
            yield make(device)


def _path(device: torch.device) -> Path:
    name = f"solvers_{device.type}_{date.today().isoformat()}.json"
    return Path(__file__).parent / "results" / name


if __name__ == "__main__":
    main()
