"""What a person gets to see of predicted solutions: a picture and two tables."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit.files import replace_whole
from lit_implicit_lp.metrics import objective_value, violation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_implicit.solvers import Solution


def draw_solutions(y: Tensor, batch: Any, error: Tensor, n_programs: int = 4) -> "Figure":
    """Draw predicted against optimal values of the variables, one panel for each program.

    Args:
        y: Predicted solutions, shape `(n_variables,)` over all programs.
        batch: The programs.
        error: Error of each program, shape `(n,)`.
        n_programs: At most so many panels.
    """
    from matplotlib.figure import Figure

    n = min(n_programs, batch.num_graphs)
    figure = Figure(figsize=(3.2 * n, 3.6), layout="constrained")
    for i, axes in enumerate(figure.subplots(1, n, squeeze=False)[0]):
        part = slice(int(batch.ptr[i]), int(batch.ptr[i + 1]))
        optimal = batch.target[part].detach().cpu().float()
        predicted = y[part].detach().cpu().float()
        ends = [float(optimal.min()), float(optimal.max())]
        axes.plot(ends, ends, color="0.6", linewidth=1, label="exact")
        axes.plot(optimal, predicted, ".", label="variable")
        axes.set_title(f"LP {int(batch.index[i])}, error {float(error[i]):.3f}", fontsize=10)
        axes.set_xlabel("optimal value")
    figure.axes[0].set_ylabel("predicted value")
    figure.axes[0].legend(fontsize=8)
    return figure


def write_predictions(
    y: Tensor, solution: "Solution | None", batch: Any, error: Tensor, folder: Path
) -> None:
    """Write a row per program and a row per variable, in files named after the first program.

    Args:
        y: Predicted solutions, shape `(n_variables,)` over all programs.
        solution: What the solver says, or None for an explicit network.
        batch: The programs.
        error: Error of each program, shape `(n,)`.
        folder: Where `programs_*.csv` and `solutions_*.csv` go; made if missing.
    """
    from lit_implicit.solvers import Status

    folder.mkdir(parents=True, exist_ok=True)
    programs = {
        "index": batch.index,
        "error": error,
        "objective": objective_value(y, batch),
        "optimal_objective": batch.objective,
        "violation": violation(y, batch),
    }
    columns = {name: column.tolist() for name, column in programs.items()}
    if solution is not None:
        columns["n_iter"] = solution.n_iter.tolist()
        columns["relative_residual"] = solution.relative_residual.tolist()
        columns["status"] = [Status(code).name for code in solution.status.tolist()]
    _write(folder / f"programs_{int(batch.index[0]):06d}.csv", columns)
    variables = {
        "index": batch.index[batch.batch],
        "variable": (batch.batch.new_ones(len(y)).cumsum(0) - 1) - batch.ptr[batch.batch],
        "predicted": y,
        "optimal": batch.target,
        "lower": batch.lower,
        "upper": batch.upper,
    }
    columns = {name: column.tolist() for name, column in variables.items()}
    _write(folder / f"solutions_{int(batch.index[0]):06d}.csv", columns)


def _write(path: Path, columns: dict[str, list[Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    with replace_whole(path) as file:
        file.write(text.getvalue().encode())
