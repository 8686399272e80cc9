"""Tables of answers, as `write` of an objective leaves them and `summary` reads them again."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_implicit.files import replace_whole
from lit_implicit.solvers import Solution, Status


def solution_columns(solution: Solution | None, sample: int) -> dict[str, Any]:
    """Return what a table says of a sample's solve: iterations, relative residual and status.

    Args:
        solution: The solution of a batch; None, as of an explicit network, has no columns.
        sample: Number of the sample in the batch.
    """
    if solution is None:
        return {}
    return {
        "n_iter": int(solution.n_iter[sample]),
        "relative_residual": f"{float(solution.relative_residual[sample]):.1e}",
        "status": Status(int(solution.status[sample])).name,
    }


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the rows of a batch as CSV, whole or not at all.

    Args:
        rows: Names of columns and their values, the same names in each row; at least one row.
        path: The file; of successive batches each has its own. Its folder is made if missing.

    Raises:
        OSError: If it cannot be written.
        ValueError: If there are no rows, or one has a column that the first has not.
    """
    if not rows:
        raise ValueError(f"`write_table` was given no rows for {path.name!r}: no columns, either.")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with replace_whole(path) as file:
        file.write(text.getvalue().encode())


def read_tables(folder: Path, pattern: str) -> list[Mapping[str, Any]]:
    """Return the rows of all tables below a folder, by the files' names.

    Args:
        folder: What `write` was given; of several processes, the folder that holds theirs.
        pattern: Names of the tables, such as `images_*.csv`.
    """
    rows: list[Mapping[str, Any]] = []
    for path in sorted(folder.rglob(pattern), key=lambda path: path.name):
        with path.open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows
