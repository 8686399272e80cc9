"""Linear programs from MPS files, and their solutions in the terms of the file."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_implicit.errors import DataError
from lit_implicit_lp.problem import Floats, Integers, LinearProgram

SUFFIXES = (".mps", ".mps.gz")


@dataclass(frozen=True, eq=False)
class MPSProgram:
    """A linear program with the names, the sense and the rows of the file that it came from.

    A file's row may have two sides, or none: `row_of` and `row_sign` lead back from the constraints
    `A y <= b` of the program. Its objective is `offset + c'y`, or `offset - c'y` where the file
    maximises.

    Args:
        path: The file.
        program: The program, which minimises.
        variables: Names of the variables.
        rows: Names of the file's rows, the objective and other free ones of type N left out.
        row_of: Row of the file behind each constraint, shape `(n_constraints,)`.
        row_sign: -1 where the constraint is the row's lower side, negated; else 1.
        maximize: Whether the file asks for the largest value.
        offset: Constant of the objective.
        notes: What was left out or changed on reading, a line each.
        name: What it is called: the file's name without its ending.
    """

    path: Path
    program: LinearProgram
    variables: tuple[str, ...]
    rows: tuple[str, ...]
    row_of: Integers
    row_sign: Floats
    maximize: bool
    offset: float
    notes: tuple[str, ...]
    name: str

    def objective(self, y: Floats) -> float:
        """Return the file's own objective at `y`, shape `(n_variables,)`."""
        value = float(self.program.c @ y)
        return self.offset + (-value if self.maximize else value)

    def row_duals(self, dual: Floats) -> Floats:
        """Return the change of the file's objective per unit of each row's side, `(rows,)`.

        Args:
            dual: Multipliers of the program's constraints, at least 0 for `<=`.
        """
        duals = np.zeros(len(self.rows))
        np.add.at(duals, self.row_of, -self.row_sign * dual)
        return -duals if self.maximize else duals


def find_files(given: str) -> list[Path]:
    """Return the MPS files that a path, a folder or a pattern such as `netlib/*.mps` names.

    Raises:
        DataError: If there is none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return [path]
    found: list[Path] = []
    if path.is_dir():
        found, what = [p for p in path.iterdir() if p.is_file()], "has no file that ends in"
    else:
        what = "is neither a file nor a folder, nor a pattern that fits files that end in"
        # A pattern may begin at the root, which `Path.glob` cannot.
        start = Path(path.anchor)
        if any(sign in given for sign in "*?["):
            found = list(start.glob(str(path.relative_to(path.anchor))))
    found = sorted(p for p in found if p.name.endswith(SUFFIXES))
    if not found:
        raise DataError(f"{given!r} {what} {' or '.join(SUFFIXES)}. Name files in MPS format.")
    return found


def read_mps(path: Path) -> MPSProgram:
    """Read a file in MPS format, free or fixed, with HiGHS's reader.

    Ranges become two constraints, `>=` is negated, a free row is dropped. Integer variables are
    relaxed, which `notes` says, as it says what HiGHS left out.

    Args:
        path: A file that ends in `.mps` or `.mps.gz`.

    Raises:
        DataError: If it cannot be read, or holds no linear program: with the path and HiGHS's word.
    """
    _check_file(path)
    accepted, solver, log = _read(path)
    errors = [line.removeprefix("ERROR:").strip() for line in log if line.startswith("ERROR")]
    if not accepted:
        said = f" HiGHS says: {errors[-1]}." if errors else ""
        raise DataError(
            f"{str(path)!r} is no linear program in MPS format.{said} Look at its sections (ROWS, "
            "COLUMNS, RHS, BOUNDS, ENDATA) and its numbers."
        )
    model = solver.getModel()
    lp = model.lp_
    notes = [line.removeprefix("WARNING:").strip() for line in log if line.startswith("WARNING")]
    if model.hessian_.dim_:
        raise DataError(f"{str(path)!r} has a quadratic objective; only linear ones are solved.")
    kinds = [kind.name for kind in lp.integrality_]
    if strange := sorted(set(kinds) - {"kContinuous", "kInteger", "kImplicitInteger"}):
        raise DataError(
            f"{str(path)!r} has variables of the kind {strange[0].removeprefix('k')}, which no "
            "linear program has. Replace them by continuous ones."
        )
    if n_integer := sum(kind != "kContinuous" for kind in kinds):
        notes.append(f"{n_integer} integer variables are relaxed to continuous ones")
    variables, rows = tuple(lp.col_names_), tuple(lp.row_names_)
    if len(variables) != lp.num_col_ or len(rows) != lp.num_row_:
        said = notes[-1] if notes else "names are missing"
        raise DataError(f"{str(path)!r} must name each variable and row once: {said}.")
    try:
        program, row_of, row_sign = _convert(lp)
    except DataError as err:
        raise DataError(f"{str(path)!r}: {err}") from err
    maximize = lp.sense_.name == "kMaximize"
    offset, name = float(lp.offset_), path.name.removesuffix(".gz").removesuffix(".mps")
    return MPSProgram(
        path, program, variables, rows, row_of, row_sign, maximize, offset, tuple(notes), name
    )


def _check_file(path: Path) -> None:
    """Tell what HiGHS calls a parser error, whatever it is."""
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{str(path)!r} must end in {' or '.join(SUFFIXES)}, to be read as MPS.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as err:
        raise DataError(f"Cannot read {str(path)!r}: {err.strerror}.") from err
    if empty:
        raise DataError(f"{str(path)!r} is empty.")


def _read(path: Path) -> tuple[bool, Any, list[str]]:
    """Return whether HiGHS accepts the file, HiGHS with its model, and what it would print."""
    import highspy as untyped

    highspy: Any = untyped
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        solver = highspy.Highs()
        solver.setOptionValue("log_to_console", False)
        solver.setOptionValue("log_file", str(log))
        status = solver.readModel(str(path))
        solver.setOptionValue("log_file", "")  # closes it
        text = log.read_text(errors="replace") if log.is_file() else ""
    return status != highspy.HighsStatus.kError, solver, text.splitlines()


def _convert(lp: Any) -> tuple[LinearProgram, Integers, Floats]:
    """Return the program, and row and sign behind each of its constraints."""
    c = np.array(lp.col_cost_, float)
    low, high = np.array(lp.row_lower_, float), np.array(lp.row_upper_, float)
    is_equality = low == high
    # In the file's order, a row's upper side before its lower one.
    sides = np.stack([np.isfinite(high), np.isfinite(low) & ~is_equality], axis=1)
    row_of, side = np.nonzero(sides)
    sign = np.where(side == 0, 1.0, -1.0)
    number = np.full(sides.shape, -1)
    number[row_of, side] = np.arange(len(row_of))

    n_columns = lp.num_col_
    # HiGHS keeps what it reads by columns.
    starts: Integers = np.array(lp.a_matrix_.start_, np.int64)
    columns = np.repeat(np.arange(n_columns), starts[1:] - starts[:-1])
    entry_row = np.array(lp.a_matrix_.index_, np.int64)
    values = np.array(lp.a_matrix_.value_, float)
    places = number[entry_row]  # (n_nonzeros, 2)
    entry, entry_side = np.nonzero(places >= 0)
    program = LinearProgram(
        c=-c if lp.sense_.name == "kMaximize" else c,
        rows=places[entry, entry_side],
        columns=columns[entry],
        coefficients=values[entry] * np.where(entry_side == 0, 1.0, -1.0),
        b=np.where(side == 0, high[row_of], -low[row_of]),
        is_equality=is_equality[row_of],
        lower=np.array(lp.col_lower_, float),
        upper=np.array(lp.col_upper_, float),
    )
    return program, row_of, sign
