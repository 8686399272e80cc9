"""The penalty on the dependence of starts against closed forms of affine maps."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from problems import Affine, RaggedAffine, matrix, random, systems

from lit_implicit import (
    Equilibrium,
    ImplicitLightningModule,
    JacobianFree,
    PathDifference,
    Picard,
    Unrolled,
)
from lit_implicit.errors import ConfigError
from lit_implicit.path_difference import random_start
from lit_implicit.regularizers import generator_of_step

SOLVER = Picard(rtol=1e-13, max_iter=800)


def start(g, end, penalty, step):
    """The start that the penalty draws; what it is like has a test of its own."""
    return random_start(g.layout, end, generator_of_step(penalty.seed, step, end.device)).detach()


def expected(a, x, z0, end, n_iter, last):
    """|A^n z0 + (A^(n-1) + ... + 1) x - end| / |end|, with a slope through the last iterations."""
    z = z0
    for t in range(n_iter):
        z = z @ a.T + x
        if t == n_iter - last - 1:
            z = z.detach()
    return (z - end).norm(dim=1) / end.detach().norm(dim=1)


@pytest.mark.parametrize(("n_iter", "last"), [(1, 1), (5, 5), (6, 2)])
def test_value_and_gradient_are_those_of_the_closed_form(n_iter, last):
    operator, x = Affine(matrix(6, 0.8)), random(3, 6)
    g, solution = Equilibrium(operator, SOLVER).solve(x)
    penalty = PathDifference(1.0, n_iter, last, seed=4)
    found = penalty.penalty(g, solution, step=7)
    (gradient,) = torch.autograd.grad(found.sum(), operator.a)
    a = matrix(6, 0.8).requires_grad_()
    end = torch.linalg.solve(torch.eye(6).double() - a, x.T).T
    wanted = expected(a, x, start(g, solution.z, penalty, 7), end, n_iter, last)
    assert torch.allclose(found, wanted, rtol=1e-9)
    assert torch.allclose(gradient, torch.autograd.grad(wanted.sum(), a)[0], rtol=1e-8)


def test_it_costs_n_iter_calls_of_which_the_last_are_differentiated():
    operator = Affine(matrix(6, 0.8))
    with torch.no_grad():
        g, solution = Equilibrium(operator, SOLVER).solve(random(2, 6))
    operator.n_calls = 0
    found = PathDifference(1.0, 7, 3).penalty(g, solution, step=0)
    assert operator.n_calls == 7
    stack, products = [found.grad_fn], set()
    while stack:
        node = stack.pop()
        stack += [child for child, _ in node.next_functions if child is not None]
        if node.name().startswith("MmBackward"):
            products.add(node)
    assert len(products) == 3


def test_systems_of_different_sizes_start_at_their_own():
    parts = [(matrix(n, 0.7, seed=n), random(n, seed=n)) for n in (3, 6, 4)]
    g, solution = Equilibrium(RaggedAffine(0.9), SOLVER).solve(systems(*parts))
    penalty = PathDifference(1.0, 4, 2)
    found = penalty.penalty(g, solution, step=1).detach()
    z0 = start(g, solution.z, penalty, 1)
    places = torch.tensor([0, 3, 9, 13])
    for i, (a, b) in enumerate(parts):
        rows = slice(places[i], places[i + 1])
        end = torch.linalg.solve(torch.eye(len(b)).double() - 0.9 * a, b)
        assert torch.allclose(z0[rows].norm(), end.norm())
        wanted = expected(0.9 * a, b, z0[rows][None], end[None], 4, 2)
        assert torch.allclose(found[i], wanted[0], rtol=1e-9)


def test_a_map_that_forgets_its_state_costs_nothing_and_has_a_finite_gradient():
    operator = Affine(torch.zeros(4, 4).double())
    g, solution = Equilibrium(operator, SOLVER).solve(torch.cat([random(2, 4), torch.zeros(1, 4)]))
    found = PathDifference(1.0).penalty(g, solution, step=3)
    assert found.tolist() == [0.0, 0.0, 0.0]
    found.sum().backward()
    assert operator.a.grad.isfinite().all()


def test_draws_are_a_function_of_seed_and_step():
    g, solution = Equilibrium(Affine(matrix(6, 0.9)), SOLVER).solve(random(2, 6))
    first = PathDifference(1.0)
    one, same = (first.penalty(g, solution, step=3) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, first.penalty(g, solution, step=4))
    assert not torch.equal(one, PathDifference(1.0, seed=1).penalty(g, solution, step=3))


def test_starts_are_as_large_as_the_end_and_one_where_that_is_unknown():
    layout = Equilibrium(Affine(matrix(6, 0.9)), SOLVER).solve(random(3, 6))[0].layout
    end = torch.stack([7 * torch.ones(6), torch.zeros(6), torch.full((6,), torch.nan)]).double()
    sizes = random_start(layout, end, torch.Generator().manual_seed(0)).norm(dim=1)
    wanted = torch.tensor([7 * 6**0.5, 1.0, 1.0], dtype=torch.float64)
    assert torch.allclose(sizes, wanted, rtol=1e-6)


def test_less_of_it_makes_a_map_that_expands_contract():
    a = matrix(6, 1.0)
    operator = Affine(a * 1.2 / torch.linalg.eigvals(a).abs().max())
    layer, penalty = Equilibrium(operator, Picard(max_iter=5), Unrolled()), PathDifference(1.0)
    optimizer = torch.optim.Adam(operator.parameters(), lr=0.01)
    for step in range(150):
        g, solution = layer.solve(random(4, 6, seed=step))
        optimizer.zero_grad()
        penalty.penalty(g, solution, step).mean().backward()
        optimizer.step()
    assert torch.linalg.eigvals(operator.a.detach()).abs().max() < 0.8


class Steep(Affine):
    """Contracts near c, and runs away from far starts: c + a (d + d^5), d = z - c."""

    def forward(self, z, c):
        d = z - c
        return c + self.a[0, 0] * (0.1 * d + d**5)


def test_a_start_that_overflows_costs_two_and_spoils_no_other():
    near, far = torch.full((1, 4), 0.1).double(), torch.full((1, 4), 20.0).double()
    penalty, found = PathDifference(1.0, n_iter=6, last=2), []
    for x in (near, torch.cat([near, far])):
        operator = Steep(torch.ones(1, 1).double())
        # From the fixed point itself: the solve is sound.
        g, _ = Equilibrium(operator, SOLVER).bind(x)
        solution = SOLVER.solve(g, x.clone())
        assert not solution.failed.any()
        value = penalty.penalty(g, solution, step=0)
        value.sum().backward()
        found.append((value.detach(), operator.a.grad))
    assert found[0][0].isfinite().all()
    assert found[1][0][1] == 2.0
    assert found[1][1].isfinite().all()


def test_jacobian_free_gradients_are_refused():
    with pytest.raises(ConfigError, match=r"`model.regularizers`: `PathDifference` needs"):
        ImplicitLightningModule(
            AffineOperator(0.5), AffineObjective(), adjoint=JacobianFree(),
            regularizers=[PathDifference(1.0)],
        )  # fmt: skip


def test_module_adds_it_to_the_loss(tmp_path):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    logged, weights = [], []
    for weight in (0.0, 1.0):
        run = Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path,
                      enable_model_summary=False, **quiet)  # fmt: skip
        torch.manual_seed(0)
        module = ImplicitLightningModule(
            AffineOperator(0.5), AffineObjective(), regularizers=[PathDifference(weight)]
        )
        run.fit(module, AffineData())
        logged.append(float(run.callback_metrics["train/path_difference"]))
        weights.append(module.operator.weight.detach().clone())
    assert min(logged) > 0
    assert not torch.allclose(*weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "`PathDifference.weight` must be at least 0 and finite, got -1.0"),
        ({"weight": 1.0, "last": 0}, "`PathDifference.last` must be at least 1, got 0"),
        (
            {"weight": 1.0, "n_iter": 3},
            "`PathDifference.n_iter` must be at least `last`, 4, got 3",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PathDifference(**settings)
