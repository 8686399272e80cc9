"""Labelled programs that make no sense, found before a network sees them."""

import numpy as np

from lit_implicit.errors import DataError
from lit_implicit_lp.label_arrays import LabelledPrograms, kind
from lit_implicit_lp.problem import Booleans

_MARGIN = 1e-6
"""What a label may miss a bound or a constraint by, relative to 1 + the size of its numbers: far
more than the oracle's own tolerance, far less than a wrong label does."""

_NUMBERS = ("c", "b", "coefficients", "objective", "target", "delta")


def check_labelled(programs: LabelledPrograms) -> None:
    """Refuse labelled programs whose data are no numbers, or whose label is no feasible point.

    Args:
        programs: The programs, from wherever they come.

    Raises:
        DataError: If there is no program, an array has the wrong length, a number is not finite, a
            nonzero lies outside of A, bounds cross, or a label violates a bound or a constraint;
            with the index of the program.
    """
    arrays = programs.arrays
    if not len(programs):
        raise DataError("There are no linear programs: `index` is empty.")
    sizes = {of: arrays[f"n_{of}"] for of in ("variables", "constraints", "nonzeros")}
    owners = {of: np.repeat(np.arange(len(programs)), n) for of, n in sizes.items()}
    owners["programs"] = np.arange(len(programs))
    firsts = {of: n.cumsum() - n for of, n in sizes.items()}

    def refuse(wrong: Booleans, of: str, text: str, **shown: np.ndarray) -> None:
        """Name the program of the first wrong entry, its place in it, and what stands there."""
        if not wrong.any():
            return
        i = int(wrong.argmax())
        owner = int(owners[of][i])
        place = f", {of[:-1]} {i - int(firsts[of][owner])}" if of in firsts else ""
        values = {name: array[i] for name, array in shown.items()}
        raise DataError(f"Linear program {arrays['index'][owner]}{place}: {text.format(**values)}.")

    for name, array in arrays.items():
        of = kind(name)
        if array.shape != owners[of].shape:
            raise DataError(
                f"`{name}` of {len(programs)} linear programs must have shape {owners[of].shape}, "
                f"one entry for each of the {of}, got {array.shape}."
            )
        if name.partition("_")[0] in _NUMBERS:
            refuse(~np.isfinite(array), of, f"`{name}` must be finite, got {{x}}", x=array)
    lower, upper, target = arrays["lower"], arrays["upper"], arrays["target"]
    bounds = {"lower": lower, "upper": upper}
    text = "the bounds must be in order, got lower {lower:g} and upper {upper:g}"
    refuse(~(lower <= upper), "variables", text, **bounds)
    for name, of in (("rows", "constraints"), ("columns", "variables")):
        place, n = arrays[name], sizes[of][owners["nonzeros"]]
        text = f"`{name}` must lie in 0 to {{n}} - 1, got {{place}}"
        refuse((place < 0) | (place >= n), "nonzeros", text, place=place, n=n)
    margin = _MARGIN * (1 + np.abs(target))
    text = "the label {y:g} lies outside of its bounds, lower {lower:g} and upper {upper:g}"
    outside = (target < lower - margin) | (target > upper + margin)
    refuse(outside, "variables", text, y=target, **bounds)
    b, owner = arrays["b"], owners["nonzeros"]
    terms = arrays["coefficients"] * target[firsts["variables"][owner] + arrays["columns"]]
    row = firsts["constraints"][owner] + arrays["rows"]
    row_margin = _MARGIN * (1 + np.bincount(row, np.abs(terms), len(b)))
    activity = np.bincount(row, terms, len(b))
    excess = np.where(arrays["is_equality"], np.abs(activity - b), activity - b)
    text = "the label violates it by {excess:g}"
    refuse(excess > row_margin, "constraints", text, excess=excess)
