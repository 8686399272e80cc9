"""What is written about the programs of MPS files: JSON, and the rows of a table."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lit_implicit.files import file_name
from lit_implicit.reporting.report import write_json
from lit_implicit_lp.certificate import (
    Certificate,
    LPVerdict,
    farkas,
    project_dual,
    project_primal,
    ray,
    verdict,
)
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import KKT, kkt
from lit_implicit_lp.metrics import violation
from lit_implicit_lp.mps import MPSProgram
from lit_implicit_lp.mps_graphs import MPSGraphs
from lit_implicit_lp.solution import LPSolution, primal

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

    Residuals and certificates are measured anew on the data of the file, in float64.

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
    if status is LPVerdict.INFEASIBLE:
        proofs = [(farkas(x, matrix, d), d) for d in (answer.dual_step, answer.dual)]
        proof, direction = _holding(proofs)
        d = file.row_duals(project_dual(x, direction).numpy())
        judged["certificate"] = _certificate(proof, file.rows, -d if file.maximize else d)
    if status is LPVerdict.UNBOUNDED:
        proofs = [(ray(x, matrix, w), w) for w in (answer.primal_step, answer.primal)]
        proof, direction = _holding(proofs)
        w = project_primal(x, direction).numpy()
        judged["certificate"] = _certificate(proof, file.variables, w)
    return judged


def _holding(proofs: list[tuple[Certificate, Tensor]]) -> tuple[Certificate, Tensor]:
    """Return the proof that holds, with its direction; the first, where bounds alone decided."""
    return next((found for found in proofs if found[0].holds()), proofs[0])


def _certificate(proof: Certificate, names: Sequence[str], direction: Any) -> dict[str, Any]:
    entries = {name: float(x) for name, x in zip(names, direction, strict=True) if x != 0}
    return {
        "value": float(proof.value),
        "violation": float(proof.violation),
        "direction": entries,
    }


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
