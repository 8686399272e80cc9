"""The task as a whole: registered, light to name, and sound by the public test kit."""

import pytest

from lit_implicit.testing import check_task

OPERATOR = {"width": 2, "modes": 2, "padding": 1}


@pytest.mark.slow
def test_the_kit_finds_nothing_wrong(tmp_path):
    data = {"root": str(tmp_path), "progress": False, "resolution": 12, "max_wavenumber": 2,
            "nu": 0.1, "n_train": 4, "n_val": 3, "n_test": 4, "batch_size": 2}  # fmt: skip
    report = check_task(
        "flow",
        data_args=data,
        operator_args={"fno": OPERATOR, "fno_plus": OPERATOR, "oseen": {"waves": 2}},
    )
    assert set(report.names("skipped")) <= {"operators.fno.derivative"}
