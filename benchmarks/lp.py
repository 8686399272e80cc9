"""Measure the time to solve many linear programs: `LPPrimalDual`, trained and not, and HiGHS.

    python benchmarks/lp.py --ckpt_path CKPT [--device cuda] [--output lp.json]

All programs of a case are in memory; what is timed is from there to solutions and duals in memory,
on the CPU. A program counts as solved if its relative KKT residual (`KKT.worst`, as PDLP defines
it) is at most the tolerance, measured afterwards in float64, whatever a method computes in. HiGHS
solves one program after the other on each of `--threads` threads; the other methods take batches,
and torch uses as many threads. Methods take turns: each repeat runs all of them, and ratios are
within a repeat. Medians and quartiles are shown. Run it on a machine that does nothing else: the
load average before and after stands beside the numbers.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lit_implicit.reporting.report import count_parameters, environment, write_json
from lit_implicit_lp.data import LPDataModule
from lp_batches import BatchMethod, features, operators
from lp_highs import Answers, HighsMethod, exact, model, pdlp
from lp_table import BASE, TOLERANCES, Entry, rows, show

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Case:
    """Test programs of one size.

    Args:
        family, sizes: As in `LPDataModule`.
        n: How many.
        batch_size: Programs in a batch.
        max_iter: Most applications of G, two steps each.
    """

    family: Any
    sizes: tuple[tuple[int, int, int], ...]
    n: int
    batch_size: int
    max_iter: int


CASES = {
    "10x50": Case("paper", ((10, 50, 100),), 1000, 1000, 1000),
    "50x250": Case("row_sparse", ((50, 250, 500),), 100, 100, 1000),
    "200x1000": Case("row_sparse", ((200, 1000, 2000),), 20, 20, 1000),
}


def timed(run: Callable[[], Answers], device: torch.device) -> tuple[float, Answers]:
    """Return the seconds of a run and its answers."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    since = time.perf_counter()
    answers = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - since, answers


def measure(name: str, case: Case, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all methods on a case, in turns."""
    data = LPDataModule(
        root=given.root, n_train=1, n_val=1, n_test=case.n, sizes=case.sizes, family=case.family,
        perturb_splits=(), eval_batch_size=case.n, dtype="float64",
    )  # fmt: skip
    data.prepare_data()
    data.setup("test")
    (batch,) = data.test_dataloader()
    device, dtype = torch.device(given.device), _DTYPES[given.precision]
    models = [model(graph) for graph in batch.to_data_list()]
    batches = [
        features(batch, case.batch_size, i, dtype) for i in range(0, case.n, case.batch_size)
    ]
    entries = [Entry(BASE, None, HighsMethod(models, given.threads, exact()))]
    for tolerance in TOLERANCES:
        for kind, operator in operators(given.ckpt_path).items():
            run = BatchMethod(operator, batches, tolerance, case.max_iter, device)
            # Two steps, and two sweeps for each certificate.
            sweeps = 4 + 2 / operator.stop_every
            entries.append(Entry(kind, tolerance, run, sweeps, run.sweeps_of_encode()))
        entries.append(
            Entry("HiGHS PDLP", tolerance, HighsMethod(models, given.threads, pdlp(tolerance)))
        )
    answers = [entry.run() for entry in entries]  # also a warm-up
    seconds: list[list[float]] = [[] for _ in entries]
    for _ in range(given.repeats):
        for entry, taken in zip(entries, seconds, strict=True):
            taken.append(timed(entry.run, device)[0])
    return rows(name, entries, seconds, answers, batch)


def main(args: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckpt_path", type=Path, help="of a trained LPPrimalDual")
    parser.add_argument("--device", default="cpu", help="of the batched methods: cpu or cuda")
    parser.add_argument("--precision", choices=_DTYPES, default="float32")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--n", type=int, help="programs of each case, if not its own number")
    parser.add_argument("--batch_size", type=int, help="if not that of the case")
    parser.add_argument("--max_iter", type=int, help="if not that of the case")
    parser.add_argument("--root", default="data/lp", help="folder of the solved programs")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    given = parser.parse_args(args)
    chosen = {key: getattr(given, key) for key in ("n", "batch_size", "max_iter")}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    cases = {name: Case(**{**asdict(CASES[name]), **chosen}) for name in given.cases}

    torch.set_num_threads(given.threads)
    load_average, found = [os.getloadavg()[0]], []
    for name, case in cases.items():
        found += measure(name, case, given)
    load_average.append(os.getloadavg()[0])
    where = environment(torch.device(given.device))
    where["versions"]["highspy"] = version("highspy")
    show(found, f"{where['device']}; load average {load_average[0]:.1f} before, "
                f"{load_average[1]:.1f} after")  # fmt: skip
    if given.output is not None:
        content = {
            "date": date.today().isoformat(),
            "threads": given.threads,
            "cores": os.cpu_count(),
            "precision": given.precision,
            "repeats": given.repeats,
            "parameters": {k: count_parameters(g) for k, g in operators(given.ckpt_path).items()},
            "cases": {name: asdict(case) for name, case in cases.items()},
            "load_average": load_average,
        }
        write_json({**content, **where, "rows": found}, given.output)
    return found


if __name__ == "__main__":
    main()
