"""How scripts end."""

import pytest

from lit_implicit.errors import DataError
from lit_implicit.scripts import run_script


def test_what_is_returned_is_printed(capsys):
    assert run_script(lambda: "a folder") == 0
    assert capsys.readouterr().out == "a folder\n"


@pytest.mark.parametrize("error", [DataError("no data. Give some."), OSError("disk full")])
def test_a_mistake_is_one_line_and_a_fault_is_not_hidden(capsys, error):
    def fail(err):
        raise err

    assert run_script(lambda: fail(error)) == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)
