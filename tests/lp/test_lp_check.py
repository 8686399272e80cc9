"""Labelled programs that make no sense, named by program, place and value."""

import numpy as np
import pytest
import torch

from lit_implicit.errors import DataError
from lit_implicit_lp.graph import LPGraphs
from lit_implicit_lp.label_arrays import LabelledPrograms
from lit_implicit_lp.labels import LabelSettings, label_chunk

SETTINGS = LabelSettings(0, 0, ((3, 8, 12), (2, 5, 6)), modes=("c",))


@pytest.fixture(scope="module")
def chunk():
    return LabelledPrograms.join([label_chunk(SETTINGS, 0)]).arrays


def place(chunk, program, of="variables", i=0):
    """Where an entry of a program stands in the flat arrays."""
    return int(chunk[f"n_{of}"][:program].sum()) + i


def refusal(chunk, name, at, value):
    """The message about a chunk with one entry exchanged."""
    array = chunk[name].copy()
    array[at] = value
    with pytest.raises(DataError) as raised:
        LPGraphs(LabelledPrograms({**chunk, name: array}), torch.float32)
    return str(raised.value)


def test_what_the_oracle_labels_passes(chunk):
    assert len(LPGraphs(LabelledPrograms(chunk), torch.float32)) == len(chunk["index"])


def test_crossed_bounds_are_named_by_program_and_variable(chunk):
    at = place(chunk, 7, i=2)
    message = refusal(chunk, "lower", at, 1000.0)
    assert message == (
        f"Linear program {chunk['index'][7]}, variable 2: the bounds must be in order, got lower "
        f"1000 and upper {chunk['upper'][at]:g}."
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["c", "b", "coefficients", "target", "delta_c", "target_c"])
def test_number_that_is_none_is_named(chunk, name, value):
    of = {"b": "constraint", "coefficients": "nonzero"}.get(name, "variable")
    message = refusal(chunk, name, place(chunk, 3, of + "s", 1), value)
    expected = f"Linear program {chunk['index'][3]}, {of} 1: `{name}` must be finite, got {value}."
    assert message == expected


def test_missing_bound_is_one_and_nan_is_none(chunk):
    at = place(chunk, 3)
    upper = chunk["upper"].copy()
    upper[at] = np.inf
    LPGraphs(LabelledPrograms({**chunk, "upper": upper}), torch.float32)
    assert "variable 0: the bounds must be in order, got" in refusal(chunk, "upper", at, np.nan)


def test_nonzero_outside_of_the_matrix_is_named(chunk):
    at, n = place(chunk, 5, "nonzeros", 1), chunk["n_variables"][5]
    message = refusal(chunk, "columns", at, n)
    assert f"nonzero 1: `columns` must lie in 0 to {n} - 1, got {n}" in message
    assert "`rows` must lie in" in refusal(chunk, "rows", at, -1)


def test_label_that_is_no_feasible_point_is_named(chunk):
    at = place(chunk, 4, i=1)
    message = refusal(chunk, "target", at, 500.0)
    assert f"Linear program {chunk['index'][4]}, variable 1: the label 500 lies outside" in message
    # The side of an equality moved by 0.1: the label misses it by as much.
    row = int(np.flatnonzero(chunk["is_equality"])[0])
    message = refusal(chunk, "b", row, chunk["b"][row] + 0.1)
    assert "the label violates it by 0.1" in message


def test_lengths_and_emptiness_are_named(chunk):
    with pytest.raises(DataError, match=r"`target` of \d+ linear programs must have shape"):
        LPGraphs(LabelledPrograms({**chunk, "target": chunk["target"][1:]}), torch.float32)
    empty = LabelledPrograms(chunk).keep(np.zeros(len(chunk["index"]), bool))
    with pytest.raises(DataError, match="There are no linear programs"):
        LPGraphs(empty, torch.float32)
