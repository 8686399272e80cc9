"""What is written about the programs of MPS files: JSON, and the rows of a table."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lit_implicit.files import file_name
from lit_implicit.reporting.report import write_json
from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import KKT, kkt
from lit_implicit_lp.metrics import violation
from lit_implicit_lp.mps import MPSProgram
from lit_implicit_lp.mps_graphs import MPSGraphs
from lit_implicit_lp.proofs import farkas, project_dual, project_primal, ray
from lit_implicit_lp.solution import LPSolution, primal
from lit_implicit_lp.sparse import SparseMatrix

if TYPE_CHECKING:
    from lit_implicit.solvers import Solution

SUFFIX = ".lp.json"
_COLUMNS = {
    "program": "name",
    "status": "status",
    "objective": "objective",
    "primal": "primal_residual",
    "dual": "dual_residual",
    "gap": "gap",
    "n_iter": "n_iter",
}


def write_programs(
    answer: Any, solution: "Solution | None", batch: Any, rtol: float, folder: Path
) -> None:
    """Write `<name>.lp.json` for each program of a batch of `MPSGraphs`.

    Residuals and certificates are measured anew on the data of the file, in float64. A certificate
    is a direction of rows, with the signs of duals, or of variables; with it there is no objective.

    Args:
        answer: A tensor of all solutions, or an `LPSolution`; without duals nothing can be proved,
            and the status stays `UNDECIDED`.
        solution: What the solver says, or None for an explicit network.
        batch: The programs.
        rtol: Largest relative residual of an optimal pair.
        folder: Where the files go.
    """
    from lit_implicit.solvers import Status

    for i, file in enumerate(batch.files):
        mine = _part(answer, batch.batch == i, batch.constraint_batch == i)
        content = {"name": file.name, "file": str(file.path), **_judged(file, mine, rtol)}
        if solution is not None:
            content["n_iter"] = int(solution.n_iter[i])
            content["solver_status"] = Status(int(solution.status[i])).name
        content["notes"] = list(file.notes)
        y = primal(mine).numpy()
        content["solution"] = dict(zip(file.variables, _numbers(y), strict=True))
        if isinstance(mine, LPSolution):
            duals = file.row_duals(mine.dual.numpy())
            content["duals"] = dict(zip(file.rows, _numbers(duals), strict=True))
        write_json(content, folder / f"{file_name(file.name)}{SUFFIX}")


def table_rows(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each program that was written into a folder, or into folders in it."""
    rows = []
    for path in sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: path.name):
        content = json.loads(path.read_text())
        rows.append({column: content.get(name) for column, name in _COLUMNS.items()})
    return rows


def _judged(file: MPSProgram, answer: Any, rtol: float) -> dict[str, Any]:
    """Return status, objective and residuals of an answer to one program, and its certificate."""
    batch = MPSGraphs([file], torch.float64)[0]
    x = LPFeatures.of(batch)
    value = file.objective(primal(answer).numpy())
    judged: dict[str, Any] = {
        "status": LPVerdict.UNDECIDED.name,
        "tolerance": rtol,
        "maximize": file.maximize,
        "objective": _number(value),
        "primal_residual": _number(float(violation(answer, batch))),
        "dual_residual": None,
        "gap": None,
    }
    if not isinstance(answer, LPSolution):
        return judged
    matrix = x.matrix()
    found: KKT = kkt(x, matrix, answer.primal, answer.dual)
    status = LPVerdict(int(verdict(x, matrix, answer, rtol)))
    judged |= {
        "status": status.name,
        "primal_residual": _number(float(found.primal)),
        "dual_residual": _number(float(found.dual)),
        "gap": _number(float(found.gap)),
    }
    if status in (LPVerdict.INFEASIBLE, LPVerdict.UNBOUNDED):
        judged["objective"] = None
        judged["certificate"] = _proof(file, x, matrix, answer, status)
    return judged


def _proof(
    file: MPSProgram, x: LPFeatures, matrix: SparseMatrix, answer: LPSolution, status: LPVerdict
) -> dict[str, Any] | None:
    """Return the direction that proves the status, by name; None where bounds cross."""
    infeasible = status is LPVerdict.INFEASIBLE
    steps = (answer.dual_step, answer.dual) if infeasible else (answer.primal_step, answer.primal)
    for step in steps:
        found = (farkas if infeasible else ray)(x, matrix, step)
        if not found.holds():
            continue
        if infeasible:
            duals = file.row_duals(project_dual(x, step).numpy())
            names, direction = file.rows, -duals if file.maximize else duals
        else:
            names, direction = file.variables, project_primal(x, step).numpy()
        return {
            "value": float(found.value),
            "violation": float(found.violation),
            "direction": {n: float(v) for n, v in zip(names, direction, strict=True) if v != 0},
        }
    return None


def _part(answer: Any, variables: Tensor, constraints: Tensor) -> Any:
    """Return the answer to one program, in float64 on the CPU."""

    def take(tensor: Tensor, mask: Tensor) -> Tensor:
        return tensor.detach()[mask].cpu().double()

    if not isinstance(answer, LPSolution):
        return take(primal(answer), variables)
    return LPSolution(
        primal=take(answer.primal, variables),
        dual=take(answer.dual, constraints),
        primal_step=take(answer.primal_step, variables),
        dual_step=take(answer.dual_step, constraints),
    )


def _numbers(values: np.ndarray) -> Iterable[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    """JSON has no NaN; `null` says that there is no number."""
    return None if value != value else value
