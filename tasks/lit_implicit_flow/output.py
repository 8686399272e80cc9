"""Flows as files: arrays in the equation's units, and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lit_implicit.files import replace_whole
from lit_implicit.predictions import solution_columns, write_table
from lit_implicit_flow.batch import FlowBatch
from lit_implicit_flow.equation import velocity
from lit_implicit_flow.measures import equation_residual, relative_error

if TYPE_CHECKING:
    from lit_implicit.solvers import Solution


def write_flows(y: Tensor, solution: "Solution | None", batch: FlowBatch, folder: Path) -> None:
    """Write `flows_NUMBER.npz` for a batch, and a row for each flow in `flows_NUMBER.csv`.

    The arrays are `vorticity` (n, N, N), `velocity` and `force` (n, 2, N, N), `viscosity` and
    `index` (n,), in the units of the equation; NUMBER is the first flow's.

    Args:
        y: Answers, shape `(n, 1, N, N)`.
        solution: What the solver says, or None for an explicit network.
        batch: The forces.
        folder: Where the files go; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    y = y.detach()
    vorticity = batch.x.physical_vorticity(y)
    arrays = {
        "vorticity": vorticity,
        "velocity": velocity(vorticity),
        "force": batch.x.physical_force(),
        "viscosity": batch.x.viscosity,
        "index": batch.index,
    }
    path = folder / f"flows_{int(batch.index[0]):05d}.npz"
    with replace_whole(path) as file:
        np.savez(file, allow_pickle=False, **{k: v.cpu().numpy() for k, v in arrays.items()})
    residuals = equation_residual(y, batch).tolist()
    errors = None if batch.target is None else relative_error(y, batch.target).tolist()
    rows: list[dict[str, Any]] = []
    for i, number in enumerate(batch.index.tolist()):
        row: dict[str, Any] = {"flow": batch.names[i] if batch.names else number, "file": path.name}
        if errors is not None:
            row["error"] = f"{errors[i]:.3g}"
        row["equation_residual"] = f"{residuals[i]:.3g}"
        rows.append(row | solution_columns(solution, i))
    write_table(rows, path.with_suffix(".csv"))
