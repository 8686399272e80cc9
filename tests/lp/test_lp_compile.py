"""`compile` and the operators of linear programs: sparse products, and sizes that change.

The checks run in a process of their own: what checks shapes in the tests cannot be traced.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.traced_product import traced_product


def test_the_traced_product_is_the_product_in_value_and_derivatives(generator):
    places, values = torch.tensor([[0, 3, 1, 3], [2, 0, 2, 1]]), torch.tensor([1.0, -2.0, 0.5, 3.0])
    matrix = SparseMatrix.from_coordinates(*places, values.double(), 4, 3)
    starts_t, rows_t, columns_t, values_t = matrix.transpose
    x = torch.randn(3, 2, dtype=torch.float64, generator=generator).requires_grad_()

    def traced(x, values):
        indices = (matrix.starts, matrix.rows, matrix.columns, starts_t, rows_t, columns_t)
        return traced_product(x, values, values_t, *indices)

    values = matrix.values.clone().requires_grad_()
    torch.testing.assert_close(traced(x, values), matrix @ x, rtol=1e-14, atol=0.0)
    assert torch.autograd.gradcheck(traced, (x, values))


@pytest.mark.slow
def test_compiled_operators_give_the_numbers_of_the_plain_ones():
    path = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:2])
    done = subprocess.run(
        [sys.executable, __file__], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "operators"]


def check_operator(operator, x, rtol):
    """Answers and gradients; narrowing compiles at most twice, and so does the tracked call."""
    with torch.no_grad():
        for weight in operator.parameters():  # else all that is learned begins as nothing
            weight += 0.1 * torch.randn_like(weight)
    solver = Picard(rtol=rtol, max_iter=60)
    compiled = Equilibrium(operator, solver, Implicit(), compile=Compile(backend="aot_eager"))
    plain = Equilibrium(operator, solver, Implicit())
    sizes = set()
    select = type(operator).select

    def noted(self, c, keep):
        sizes.add(int(keep.sum()))
        return select(self, c, keep)

    type(operator).select = noted

    def step(layer):
        solution = layer.solve(x)[1]
        square = solution.z.square().sum()
        return solution, torch.autograd.grad(square, list(operator.parameters()), allow_unused=True)

    expected, gradients = step(plain)
    for _ in range(2):
        found, other = step(compiled)
        torch.testing.assert_close(found.z, expected.z, rtol=1e-8, atol=1e-9)
        for p, q in zip(other, gradients, strict=True):
            assert (p is None) == (q is None)
            if p is not None:
                torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8 * float(q.norm() + 1))
    assert compiled.compiled.n_graphs <= 4, compiled.compiled.n_graphs
    type(operator).select = select
    assert sizes  # the batch did narrow


if __name__ == "__main__":
    from lp_programs import features, solvable

    from lit_implicit import Compile, Equilibrium, Implicit, Picard
    from lit_implicit_lp.operator import LPGraphOperator
    from lit_implicit_lp.primal_dual import LPPrimalDual

    torch.manual_seed(0)
    x = features(*solvable(5))
    check_operator(LPPrimalDual("state", 8, 4, 3).double(), x, 2e-2)
    torch.manual_seed(0)
    check_operator(LPGraphOperator(4).double(), x, 1e-5)
    print("2 operators")  # noqa: T201
