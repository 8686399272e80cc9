"""HiGHS as the benchmark of linear programs sees it: models at hand, a solver per thread."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import highspy  # noqa: TID253 - nobody runs this without it
import numpy as np
import torch
from torch import Tensor

from lit_implicit_lp.oracle import TOLERANCE


@dataclass(frozen=True, eq=False)
class Answers:
    """What a method answers to all programs, on the CPU.

    Args:
        y: Solutions, one after the other.
        dual: Multipliers, one after the other, at least 0 for `<=`.
        n_iter: Iterations for each program.
    """

    y: Tensor
    dual: Tensor
    n_iter: Tensor


def exact() -> dict[str, Any]:
    """Return the options of the labels of the task: the dual simplex method, to the last digit.

    HiGHS's own tolerances, or looser ones, or presolve make it no faster on these programs.
    """
    return {
        "solver": "simplex",
        "presolve": "off",
        "primal_feasibility_tolerance": TOLERANCE,
        "dual_feasibility_tolerance": TOLERANCE,
    }


def pdlp(tolerance: float) -> dict[str, Any]:
    """Return the options of HiGHS's own first-order method at a relative tolerance."""
    names = ("kkt_tolerance", "pdlp_optimality_tolerance")
    return {"solver": "pdlp", "presolve": "off"} | dict.fromkeys(names, tolerance)


class HighsMethod:
    """HiGHS with some options, one solver per thread.

    What is timed is handing over a model, solving it from scratch and reading the solution; models
    are made before. HiGHS releases Python's lock while it solves.

    Args:
        models: The programs, as `model` makes them.
        n_threads: Threads, each with a solver that uses no other.
        options: Options of HiGHS.
    """

    def __init__(self, models: Sequence[Any], n_threads: int, options: Mapping[str, Any]) -> None:
        self._models, self._n_threads = models, n_threads
        self._solvers = [highspy.Highs() for _ in range(n_threads)]
        for solver in self._solvers:
            for name, value in ({"output_flag": False, "threads": 1} | dict(options)).items():
                if solver.setOptionValue(name, value) != highspy.HighsStatus.kOk:
                    raise ValueError(f"HiGHS {highspy.Highs().version()} has no {name}={value!r}.")

    def __call__(self) -> Answers:
        """Solve all programs."""
        n = len(self._models)
        with ThreadPoolExecutor(self._n_threads) as pool:
            parts = pool.map(self._some, range(self._n_threads))
            found = {i: answer for part in parts for i, answer in part.items()}
        y, dual, n_iter = zip(*(found[i] for i in range(n)), strict=True)
        return Answers(
            torch.from_numpy(np.concatenate(y)),
            -torch.from_numpy(np.concatenate(dual)),  # the sign of HiGHS is the other one
            torch.tensor(n_iter),
        )

    def _some(self, first: int) -> dict[int, tuple[Any, Any, int]]:
        solver, found = self._solvers[first], {}
        for i in range(first, len(self._models), self._n_threads):
            solver.passModel(self._models[i])
            solver.run()
            info, solution = solver.getInfo(), solver.getSolution()
            count = max(info.simplex_iteration_count, info.pdlp_iteration_count)
            found[i] = (np.array(solution.col_value), np.array(solution.row_dual), count)
        return found


def model(graph: Any) -> Any:
    """Return an `LPGraph` in float64 as a model of HiGHS."""
    made = highspy.HighsLp()
    b, rows, columns = graph.b.numpy(), *graph.edge_index.numpy()
    order = np.argsort(rows, kind="stable")
    made.num_col_, made.num_row_ = len(graph.c), len(b)
    made.col_cost_ = graph.c.numpy()
    made.col_lower_, made.col_upper_ = graph.lower.numpy(), graph.upper.numpy()
    made.row_lower_ = np.where(graph.is_equality.numpy() > 0, b, -np.inf)
    made.row_upper_ = b
    matrix = made.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_ = np.searchsorted(rows[order], np.arange(len(b) + 1))
    matrix.index_, matrix.value_ = columns[order], graph.coefficients.numpy()[order]
    return made
