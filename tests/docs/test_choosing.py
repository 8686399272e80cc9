"""docs/choosing_a_solver.md: its code runs, and its tables are those of the script."""

import importlib

import pytest
from fenced import ROOT, Document
from problems import Affine, matrix

import lit_implicit
from lit_implicit import adjoints, solvers

CHOOSING = Document("choosing_a_solver.md")


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("solver_choice")


def test_code_runs():
    assert len(CHOOSING.blocks("python")) == 2
    CHOOSING.run()


def test_links_lead_somewhere():
    assert CHOOSING.broken_links() == []


def counts(cell):
    """Numbers of a cell; None where it says that a goal was missed."""
    return [int(part) if part.isdigit() else None for part in cell.split(" / ")]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in "bcdegh"]


# i is trained, which rounding makes another training; on f rounding decides what converges.
@pytest.mark.parametrize("name", ["a", *SLOW])
def test_calls_of_the_solvers_are_the_scripts(script, name):
    written = CHOOSING.row(f"{name}: ")
    (measured,) = script.forward_rows([name])
    assert written[0] == measured[0]
    for cell, again in zip(written[1:], measured[1:], strict=True):
        assert cell.count("/") == again.count("/")
        for a, b in zip(counts(cell), counts(again), strict=True):
            # Rounding differs between machines, and with it the last calls of accelerated methods.
            assert (a is None) == (b is None)
            assert a is None or abs(a - b) <= 3 + 0.15 * a


def test_errors_of_the_adjoints_are_the_scripts(script):
    for measured in script.adjoint_rows(mus=[0.9]):
        written = CHOOSING.row(measured[0])
        written[2:] = written[5:]  # error, cosine and products for 0.5, then for 0.9
        assert written[0] == measured[0]
        for a, b in zip(map(float, written[1:]), map(float, measured[1:]), strict=True):
            # Errors are written with one digit.
            assert b == pytest.approx(a, rel=0.6, abs=2e-7)


def test_tolerances_and_warm_starts_are_the_scripts(script):
    for measured in [*script.tolerance_rows(), *script.warm_rows()]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in CHOOSING.text.splitlines()
            if line.startswith(f"| {measured[0]} |")
        ]
        (written,) = [row for row in rows if len(row) == len(measured)]
        for a, b in zip(map(float, written), map(float, measured), strict=True):
            assert b == pytest.approx(a, rel=0.6, abs=1)


def test_every_solver_and_adjoint_has_its_row():
    names = [name for name in [*solvers.__all__, *adjoints.__all__] if name in lit_implicit.__all__]
    offered = [name for name in names if not name.startswith("Abstract")]
    offered = [name for name in offered if name not in ("Solution", "Status")]
    assert len(offered) >= 8
    rows = [line for line in CHOOSING.text.splitlines() if line.startswith("| `")]
    for name in offered:
        assert any(line.startswith(f"| `{name}(") for line in rows), name


def test_defaults_are_as_the_text_says():
    anderson = lit_implicit.Anderson()
    assert (anderson.depth, anderson.rtol, anderson.max_iter) == (5, 1e-4, 50)
    layer = lit_implicit.Equilibrium(Affine(matrix(2, 0.5)))
    assert layer.solver == anderson
    assert layer.adjoint == lit_implicit.Implicit()
