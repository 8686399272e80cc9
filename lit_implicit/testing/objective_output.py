"""Checks of what a person gets to see: pictures and files."""

import io
import re
import tempfile
from pathlib import Path

from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.objective_case import ObjectiveCase


def figures(case: ObjectiveCase) -> str:
    """`figures` returns matplotlib figures, by names that suit a file, and can be drawn.

    They go to TensorBoard and into the run directory.
    """
    from matplotlib.figure import Figure

    drawn = case.objective.figures(case.answer(), case.batch)
    if not drawn:
        raise NotApplicableError("The objective draws no figures.")
    for name, figure in drawn.items():
        if not isinstance(figure, Figure):
            raise BrokenError(
                f"Figure {name!r} must be a `matplotlib.figure.Figure`, got "
                f"{type(figure).__name__}."
            )
        if getattr(figure, "number", None) is not None:  # pyplot has numbered it
            raise BrokenError(
                f"Figure {name!r} was made by pyplot, which keeps it for ever. Make it by "
                "`matplotlib.figure.Figure(...)` and `figure.subplots()`."
            )
        if not re.fullmatch(r"\w+", name):
            raise BrokenError(
                f"{name!r} does not suit a file: name figures by letters, digits and '_'."
            )
        figure.savefig(io.BytesIO(), format="png")
    return ", ".join(drawn)


def write(case: ObjectiveCase) -> str:
    """`write` leaves files, and those of one batch do not take the place of another's.

    `predict` calls it for every batch with the same folder.
    """
    _, part_of = case.answers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen: dict[Path, bytes] = {}
        for number, keep in enumerate(case.parts()):
            part = case.keep(keep)
            case.objective.write(part_of(part, keep), None, part, folder)
            files = {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
            lost = [p.name for p, content in seen.items() if files.get(p) != content]
            if lost:
                raise BrokenError(
                    f"`write` of batch {number + 1} changes {', '.join(lost)}, which holds another "
                    "batch. Name files by the index of the first sample, or count those there are."
                )
            if len(files) == len(seen):
                raise BrokenError(f"`write` of batch {number + 1} leaves no file in its folder.")
            seen = files
        return ", ".join(p.name for p in seen)
