"""Tables of answers: written whole, read again in order."""

from lit_implicit import Equilibrium, Picard
from lit_implicit.predictions import read_tables, solution_columns, write_table
from tests.problems import Affine, matrix, random


def test_tables_come_back_by_their_names_whatever_their_folders(tmp_path):
    for rank, number in ((0, 4), (1, 0), (0, 8)):
        folder = tmp_path / f"rank_{rank}"
        write_table([{"index": number, "of": "one, two"}], folder / f"rows_{number:05d}.csv")
    write_table([{"index": -1}], tmp_path / "others_00000.csv")
    rows = read_tables(tmp_path, "rows_*.csv")
    assert rows == [{"index": str(n), "of": "one, two"} for n in (0, 4, 8)]
    assert read_tables(tmp_path / "rank_1", "others_*.csv") == []


def test_a_table_says_how_each_sample_was_solved():
    x = random(2, 4)
    x[0] = 0  # a start at zero is its solution
    _, solution = Equilibrium(Affine(matrix(4, 0.9)), Picard(rtol=1e-9, max_iter=3))(x)
    assert solution_columns(None, 0) == {}
    first, second = (solution_columns(solution, i) for i in range(2))
    assert first["status"] == "CONVERGED"
    assert second["status"] == "MAX_ITER"
    assert second["n_iter"] == 3
    assert float(second["relative_residual"]) == float(f"{solution.relative_residual[1]:.1e}")
    assert float(second["relative_residual"]) > 1e-9
