"""What a person gets to see of predicted solutions: a picture and two tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit.predictions import solution_columns, write_table
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
    programs = {
        "index": batch.index,
        "error": error,
        "objective": objective_value(y, batch),
        "optimal_objective": batch.objective,
        "violation": violation(y, batch),
    }
    rows = [row | solution_columns(solution, i) for i, row in enumerate(_rows(programs))]
    write_table(rows, folder / f"programs_{int(batch.index[0]):06d}.csv")
    variables = {
        "index": batch.index[batch.batch],
        "variable": (batch.batch.new_ones(len(y)).cumsum(0) - 1) - batch.ptr[batch.batch],
        "predicted": y,
        "optimal": batch.target,
        "lower": batch.lower,
        "upper": batch.upper,
    }
    write_table(_rows(variables), folder / f"solutions_{int(batch.index[0]):06d}.csv")


def _rows(columns: dict[str, Tensor]) -> list[dict[str, Any]]:
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]
