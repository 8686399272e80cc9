"""The LP model as an equilibrium: exact gradients, and samples that do not see each other."""

import pytest
import torch

from lit_implicit import Anderson, Equilibrium, Implicit, Picard, Unrolled
from lit_implicit_lp.data import LPDataModule
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.operator import LPGraphOperator


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    data = LPDataModule(
        root=str(tmp_path_factory.mktemp("lp")), n_train=1, n_val=1, n_test=8, progress=False,
        sizes=((10, 50, 100), (6, 20, 40), (3, 9, 12)), perturb_splits=(), dtype="float64",
    )  # fmt: skip
    data.prepare_data()
    data.setup("test")
    return data._graphs["test"]


def contractive_operator() -> LPGraphOperator:
    torch.manual_seed(0)
    return LPGraphOperator(4).double()  # so small, it contracts on these programs untrained


def gradients(operator, batch, solver, adjoint):
    objective = LPObjective()
    y, solution = Equilibrium(operator, solver, adjoint)(objective.inputs(batch))
    loss = objective.loss(y, batch).sum()
    return torch.autograd.grad(loss, list(operator.parameters())), y, solution


def test_exact_gradients_equal_a_300_step_unroll(graphs):
    operator, batch = contractive_operator(), graphs.batch(range(8))
    exact, _, solution = gradients(operator, batch, Anderson(rtol=1e-13, max_iter=300), Implicit())
    unrolled, _, _ = gradients(operator, batch, Picard(max_iter=300), Unrolled())
    assert solution.converged.all()
    assert solution.n_iter.min() > 6  # or the test would say nothing
    assert (solution.adjoint_relative_residual <= 1e-13).all()
    largest = max(g.abs().max() for g in unrolled)
    for a, b in zip(exact, unrolled, strict=True):
        assert (a - b).abs().max() <= 1e-8 * largest


@pytest.mark.parametrize(
    ("adjoint", "max_iter"), [(Implicit(), 60), (Unrolled(), 12)], ids=["implicit", "unrolled"]
)
def test_a_program_is_solved_alone_as_in_any_batch(graphs, adjoint, max_iter):
    operator = contractive_operator()
    solver = Anderson(rtol=1e-12, max_iter=max_iter)
    batch = graphs.batch([5, 0, 3, 7, 2])
    summed, y, together = gradients(operator, batch, solver, adjoint)
    alone = [gradients(operator, graphs.batch([i]), solver, adjoint) for i in (5, 0, 3, 7, 2)]
    for number, (_, y_alone, solution) in enumerate(alone):
        assert solution.n_iter.item() == together.n_iter[number].item()
        assert torch.allclose(y[batch.batch == number], y_alone, rtol=1e-11, atol=1e-11)
        if solution.adjoint.n_iter is not None:
            assert solution.adjoint.n_iter.item() == together.adjoint.n_iter[number].item()
    for number, g in enumerate(summed):
        expected = torch.stack([one[0][number] for one in alone]).sum(0)
        assert torch.allclose(g, expected, rtol=1e-9, atol=1e-12)
