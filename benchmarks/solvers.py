"""Compare fixed-point solvers, side by side: ours, other libraries', and plain loops.

    uv run --group peers python benchmarks/solvers.py [--device cuda] [--quick] [--only PATTERN]

All methods get the same operator object, the same start and the same goal: the largest relative
error of a sample, |z - z*| / |z*|, against a fixed point known to float64; in training the relative
error of the gradient. For each, the loosest tolerance of a fixed grid that reaches the goal is
taken, and there it is timed, in turns with all others; ratios are within a turn. What reaches no
goal stays in the table, with its best error. How each library is called stands in
`solvers_methods.py`, `solvers_gradients.py` and `solvers_evaluation.py`; what is counted, in
`solvers_counting.py`. All draws have fixed seeds. Run it on a machine that does nothing else; the
load average before and after stands beside the numbers.
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
from solvers_cases import measure_cases
from solvers_comparing import compare, mean_ratio
from solvers_evaluation import evaluation_methods, evaluation_rows
from solvers_figure import draw
from solvers_forward import forward_rows
from solvers_gradients import gradient_methods
from solvers_methods import methods, our_solvers
from solvers_problems import GOALS, Problem
from solvers_report import comparison_table, console, problem_table, target_table
from solvers_targets import targets
from solvers_training import training_rows
from solvers_zoo import problems, trained

PARTS = ("forward", "training", "evaluation", "cases")


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed")
    parser.add_argument("--quick", action="store_true", help="small problems, 3 turns: a trial run")
    parser.add_argument("--only", default="*", help="problems whose name has this in it (* and ?)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output", type=Path, help="JSON file for the numbers; a PNG goes beside")
    given = parser.parse_args(args)
    torch.set_num_threads(given.threads)
    device, rounds = torch.device(given.device), 3 if given.quick else given.rounds
    out, load_average = console(), [os.getloadavg()[0]]
    rows: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS[:3]}
    notes: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        versions = methods()[1]
        for problem in _chosen(given, device, notes):
            notes[problem.name] = problem.note
            for part, found in _measured(problem, given, rounds):
                rows[part] += found
                for goal in dict.fromkeys(row["goal"] for row in found):
                    shown = [row for row in found if row["goal"] == goal]
                    out.print(problem_table(part, shown, problem.note))
        cases = measure_cases(device, rounds, given.quick) if "cases" in given.parts else {}
    load_average.append(os.getloadavg()[0])
    entries = {part: compare(found) for part, found in rows.items()}
    entries["training_torchdeq"] = compare(rows["training"], {"torchdeq"})
    where = environment(device)
    where["versions"] |= versions
    content: dict[str, Any] = {
        "date": date.today().isoformat(), **where, "threads": given.threads, "rounds": rounds,
        "quick": given.quick, "seed": 0, "load_average": load_average,
        "geometric_mean_ratio": mean_ratio(entries["forward"]),
        "geometric_mean_ratio_of": {
            name: mean_ratio(entries["forward"], name) for name in our_solvers()
        },
        **entries, **cases, "problems": notes,
        **{f"{part}_rows": found for part, found in rows.items()},
    }  # fmt: skip
    content["targets"] = targets(content)
    _show(out, content)
    name = f"solvers_{device.type}_{content['date']}.json"
    path = given.output or Path(__file__).parent / "results" / name
    write_json(content, path)
    panels = ("forward", "training_torchdeq", "evaluation")
    draw({_TITLES[part]: content[part] for part in panels}, path.with_suffix(".png"))
    out.print(f"{where['device']}, {given.threads} threads; load average "
              f"{load_average[0]:.1f} before, {load_average[1]:.1f} after; {path}")  # fmt: skip
    return content


_TITLES = {
    "forward": "Forward solve, to the same true error",
    "training_torchdeq": "Training step against torchdeq, to the same error of the gradient",
    "training": "Training step against all rivals",
    "evaluation": "Evaluation through the public layers",
}


def _chosen(
    given: argparse.Namespace, device: torch.device, notes: dict[str, str]
) -> Iterator[Problem]:
    """Yield the problems whose name matches, made when their turn comes."""
    for name, make in problems(given.quick).items():
        if not fnmatch.fnmatch(name, f"*{given.only}*"):
            continue
        torch.manual_seed(0)
        try:
            yield make(device)
        except ImportError as err:
            notes[name] = f"left out: {err}"


def _measured(
    problem: Problem, given: argparse.Namespace, rounds: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of each part that was asked for."""
    if given.quick:
        problem.goals = GOALS[:1]
    if "forward" in given.parts:
        yield "forward", forward_rows(problem, methods()[0], rounds)
    if problem.name not in trained(given.quick):
        return
    if "training" in given.parts:
        yield "training", training_rows(problem, gradient_methods(), GOALS[0], rounds)
    if "evaluation" in given.parts:
        yield "evaluation", evaluation_rows(problem, evaluation_methods(), GOALS[0], rounds)


def _show(out: Any, content: dict[str, Any]) -> None:
    """Print the tables over all problems, and the targets."""
    for part, title in _TITLES.items():
        if content[part]:
            out.print(comparison_table(title, content[part]))
    solvers = {"best of each": content["geometric_mean_ratio"]}
    for name, mean in (solvers | content["geometric_mean_ratio_of"]).items():
        if mean == mean:
            out.print(f"Forward solve, ours / best rival, geometric mean, {name}: {mean:.2f}")
    out.print(target_table(content["targets"]))


if __name__ == "__main__":
    main()
