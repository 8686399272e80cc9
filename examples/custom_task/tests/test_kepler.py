"""All that lit-implicit asks of a task; `pytest -s` shows the table."""

from lit_implicit.testing import check_task


def test_kepler() -> None:
    print(check_task("kepler", data_args={"n_train": 16, "n_val": 8, "n_test": 8}))
