"""MPS files with all kinds of rows and bounds, against HiGHS's own solution of the same file."""

import gzip

import numpy as np
import pytest
from lp.netlib import OPTIMAL, netlib

from lit_implicit.errors import DataError
from lit_implicit_lp.mps import find_files, read_mps
from lit_implicit_lp.oracle import LPOracle, LPStatus

# Upper, lower, equal, free and two-sided rows; all kinds of bounds; a constant; a maximum.
ALL_KINDS = """NAME ALL
OBJSENSE
    MAX
ROWS
 N COST
 L LIM1
 N FREE
 G LIM2
 E MYEQN
 E RANGED
 G BOTH
COLUMNS
    X COST 1.0 LIM1 1.0
    X LIM2 1.0 FREE 3.0
    Y COST 2.0 LIM1 1.0
    Y MYEQN -1.0 RANGED 1.0
    Z COST -1.0 MYEQN 1.0
    Z BOTH 1.0
    W COST 1.25 BOTH 1.0
    V COST 0.5 BOTH 1.0
RHS
    RHS COST -10.0
    RHS LIM1 4.0 LIM2 1.0
    RHS MYEQN 7.0 RANGED 1.0
    RHS BOTH 2.0
RANGES
    RNG LIM1 2.5 RANGED -3.0
    RNG BOTH 9.0
BOUNDS
 UP BND X 4.0
 LO BND Y -1.0
 UP BND Y 1.0
 FR BND Z
 MI BND W
 UP BND W 3.0
 FX BND V 1.5
ENDATA
"""

SMALL = """NAME
ROWS
 N COST
 L R
COLUMNS
 x COST -1 R 1
RHS
 RHS R 1
{}
ENDATA
"""


def write(folder, text, name="a.mps"):
    path = folder / name
    path.write_text(text)
    return path


def highs(path):
    """Objective, values and row duals of a file, solved by HiGHS as it is."""
    import highspy

    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.readModel(str(path))
    solver.run()
    solution = solver.getSolution()
    value = solver.getInfo().objective_function_value
    return value, np.array(solution.col_value), np.array(solution.row_dual)


def test_rows_bounds_sense_and_constant_by_hand(tmp_path):
    found = read_mps(write(tmp_path, ALL_KINDS))
    assert found.variables == ("X", "Y", "Z", "W", "V")
    assert found.rows == ("LIM1", "LIM2", "MYEQN", "RANGED", "BOTH")
    assert (found.name, found.maximize, found.offset) == ("a", True, 10)
    p, inf = found.program, np.inf
    assert p.c.tolist() == [-1, -2, 1, -1.25, -0.5]
    assert p.lower.tolist() == [0, -1, -inf, -inf, 1.5]
    assert p.upper.tolist() == [4, 1, inf, 3, 1.5]
    rows = {
        (0, 1): ([1, 1, 0, 0, 0], 4, False),
        (0, -1): ([-1, -1, 0, 0, 0], -1.5, False),
        (1, -1): ([-1, 0, 0, 0, 0], -1, False),
        (2, 1): ([0, -1, 1, 0, 0], 7, True),
        (3, 1): ([0, 1, 0, 0, 0], 1, False),
        (3, -1): ([0, -1, 0, 0, 0], 2, False),
        (4, 1): ([0, 0, 1, 1, 1], 11, False),
        (4, -1): ([0, 0, -1, -1, -1], -2, False),
    }
    assert list(zip(found.row_of, found.row_sign, strict=True)) == list(rows)
    for i, (a, b, is_equality) in enumerate(rows.values()):
        assert (p.dense()[i].tolist(), p.b[i], p.is_equality[i]) == (a, b, is_equality)
    assert found.notes == ()


@pytest.mark.parametrize("sense", ["MAX", "MIN"])
def test_solution_objective_and_row_duals_are_those_of_the_file(tmp_path, sense):
    path = write(
        tmp_path, ALL_KINDS.replace("    MAX", f"    {sense}").replace("FR BND Z", "LO BND Z -3")
    )
    found = read_mps(path)
    answer = LPOracle().solve(found.program)
    value, y, duals = highs(path)
    assert answer.status is LPStatus.OPTIMAL
    # As near as the variables: two solves of the same program by rows that differ.
    assert found.objective(answer.y) == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(answer.y, y, atol=1e-9)
    np.testing.assert_allclose(found.row_duals(-answer.row_duals), duals, atol=1e-9)


def test_compressed_files_are_the_same(tmp_path):
    path = tmp_path / "a.mps.gz"
    path.write_bytes(gzip.compress(ALL_KINDS.encode()))
    assert read_mps(path).program.equals(read_mps(write(tmp_path, ALL_KINDS)).program)
    assert read_mps(path).name == "a"


def test_integers_are_relaxed_and_what_highs_drops_is_told(tmp_path):
    markers = ALL_KINDS.replace("COLUMNS\n", "COLUMNS\n    M1 'MARKER' 'INTORG'\n").replace(
        "    Z COST", "    M2 'MARKER' 'INTEND'\n    Z COST"
    )
    found = read_mps(write(tmp_path, markers))
    assert found.notes == ("2 integer variables are relaxed to continuous ones",)
    assert found.program.equals(read_mps(write(tmp_path, ALL_KINDS, "b.mps")).program)
    twice = ALL_KINDS.replace("    V COST", "    W BOTH 4.0\n    V COST")
    found = read_mps(write(tmp_path, twice))
    assert 'Column "W" has duplicate nonzero 4 in row "BOTH": ignored' in found.notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("hello world", "no linear program in MPS format. HiGHS says: Parser error"),
        (SMALL.format("").replace("ENDATA\n", "QUADOBJ\n x x 2.0\nENDATA\n"), "quadratic"),
        (SMALL.format("BOUNDS\n SC BND x 3"), "of the kind SemiContinuous"),
        (SMALL.replace(" x COST -1 R 1", " x COST -1\n z R 1\n x R 1").format(""), 'same name "x"'),
        (SMALL.replace("RHS R 1", "RHS R nan").format(""), "HiGHS says: Row"),
        ("NAME\nROWS\n N COST\nCOLUMNS\nRHS\nENDATA\n", "at least one variable"),
    ],
    ids=["empty", "junk", "quadratic", "semi", "names", "nan", "nothing"],
)
def test_files_without_a_linear_program_are_refused_in_one_line(tmp_path, capfd, text, reason):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as err:
        read_mps(path)
    assert str(path) in str(err.value)
    assert reason in str(err.value)
    assert "\n" not in str(err.value)
    assert capfd.readouterr().out == ""  # HiGHS says nothing by itself


def test_missing_files_folders_and_foreign_names_are_refused(tmp_path):
    (tmp_path / "folder.mps").mkdir()
    with pytest.raises(DataError, match=r"Cannot read '.*folder.mps': Is a directory"):
        read_mps(tmp_path / "folder.mps")
    with pytest.raises(DataError, match=r"Cannot read '.*none.mps': No such file"):
        read_mps(tmp_path / "none.mps")
    with pytest.raises(DataError, match=r"'.*a.txt' must end in .mps or .mps.gz"):
        read_mps(write(tmp_path, ALL_KINDS, "a.txt"))
    hidden = write(tmp_path, ALL_KINDS)
    hidden.chmod(0)
    try:
        hidden.open().close()
    except PermissionError:
        with pytest.raises(DataError, match=r"Cannot read '.*a.mps': Permission denied"):
            read_mps(hidden)


def test_folders_and_patterns_name_their_files(tmp_path, monkeypatch):
    paths = [write(tmp_path, ALL_KINDS, name) for name in ("b.mps", "a.mps", "c.mps.gz", "d.txt")]
    assert find_files(str(paths[3])) == [paths[3]]  # what it is, `read_mps` will say
    b, a, c, _ = paths
    assert find_files(str(tmp_path)) == [a, b, c]
    assert find_files(f"{tmp_path}/[ab]*") == [a, b]
    monkeypatch.chdir(tmp_path)
    assert [p.name for p in find_files("*.mps")] == ["a.mps", "b.mps"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"'empty' has no file that ends in .mps or .mps.gz"):
        find_files("empty")
    for missing in ("none.mps", "none*.mps"):
        with pytest.raises(DataError, match=r"'none.*' is neither a file nor a folder"):
            find_files(missing)


@pytest.mark.parametrize("name", OPTIMAL)
def test_netlib_files_have_their_known_optimum(name):
    (path,) = netlib(name)
    found = read_mps(path)
    answer = LPOracle().solve(found.program)
    # HiGHS stops at 1e-7: on another processor its last digits differ.
    assert found.objective(answer.y) == pytest.approx(OPTIMAL[name], rel=1e-7)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("galenet", LPStatus.INFEASIBLE),
        ("klein1", LPStatus.INFEASIBLE),
        ("gas11", LPStatus.UNBOUNDED),
    ],
)
def test_netlib_files_without_an_optimum_have_none(name, status):
    (path,) = netlib(name)
    assert LPOracle().solve(read_mps(path).program).status is status
