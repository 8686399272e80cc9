"""The penalty on the spectral radius against dense eigenvalues and finite differences."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from problems import Affine, RaggedAffine, matrix, random, systems

from lit_implicit import Equilibrium, ImplicitLightningModule, Picard
from lit_implicit.spectral import SpectralRadius, growth_rate

SOLVER = Picard(rtol=1e-12, max_iter=500)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def symmetric(n, radius, seed=0):
    """A symmetric matrix of a known spectral radius, far ahead of its other eigenvalues."""
    basis = torch.linalg.qr(random(n, n, seed=seed)).Q
    values = torch.linspace(-0.5, 0.5, n).double()
    values[-1] = -1.0
    return radius * basis * values @ basis.T


def test_the_estimate_is_the_largest_eigenvalue():
    x = random(3, 6)
    g, solution = Equilibrium(Affine(symmetric(6, 0.8)), SOLVER).solve(x)
    found = growth_rate(g, solution.z, generator(), 60)
    assert torch.allclose(found, torch.full((3,), 0.8, dtype=torch.float64), rtol=1e-9)


def test_few_steps_stay_below_a_crowd_of_eigenvalues_and_come_near():
    """With weights c_i of the start, the growth after k steps is |sum c_i^2 l_i^2k| / (2k - 2)."""
    values = torch.linspace(0.0, 0.9, 40, dtype=torch.float64)
    g, solution = Equilibrium(Affine(values.diag()), SOLVER).solve(random(1, 40))
    drawn = torch.randn(1, 40, generator=generator()).double()[0].square()
    found = [growth_rate(g, solution.z, generator(), k).item() for k in (2, 8, 16)]
    for rate, k in zip(found, (2, 8, 16), strict=True):
        moments = [(drawn * values ** (2 * power)).sum() for power in (k, k - 1)]
        assert rate == pytest.approx(float((moments[0] / moments[1]).sqrt()), rel=1e-9)
    assert found[0] < found[1] < found[2] < 0.9
    assert found[1] > 0.93 * 0.9


def test_systems_of_different_sizes_have_their_own():
    parts = [
        (symmetric(n, r, seed=n), random(n, seed=n)) for n, r in ((3, 0.9), (6, 0.5), (4, 0.7))
    ]
    g, solution = Equilibrium(RaggedAffine(0.9), SOLVER).solve(systems(*parts))
    found = growth_rate(g, solution.z, generator(), 80)
    assert torch.allclose(
        found, 0.9 * torch.tensor([0.9, 0.5, 0.7], dtype=torch.float64), rtol=1e-9
    )


def test_a_map_that_forgets_its_state_has_radius_zero_and_a_finite_gradient():
    operator = Affine(torch.zeros(4, 4).double())
    g, solution = Equilibrium(operator, SOLVER).solve(random(2, 4))
    found = growth_rate(g, solution.z, generator(), 3)
    assert found.tolist() == [0.0, 0.0]
    found.sum().backward()
    assert operator.a.grad.isfinite().all()


def test_the_gradient_is_that_of_the_eigenvalue():
    """Of a simple eigenvalue with eigenvector v, d|lambda| = sign v^T dA v: known to all."""
    a = symmetric(5, 0.8)
    operator = Affine(a)
    g, solution = Equilibrium(operator, SOLVER).solve(random(1, 5))
    growth_rate(g, solution.z, generator(), 80).sum().backward()
    values, vectors = torch.linalg.eigh(a)
    v = vectors[:, values.abs().argmax()]
    assert torch.allclose(operator.a.grad, -torch.outer(v, v), atol=1e-8)


def test_only_what_is_above_the_limit_is_penalised():
    for radius, expected in ((0.8, 0.0), (0.99, 0.09**2)):
        g, solution = Equilibrium(Affine(symmetric(6, radius)), SOLVER).solve(random(2, 6))
        found = SpectralRadius(1.0, limit=0.9, n_steps=60).penalty(g, solution, step=3)
        assert torch.allclose(
            found, torch.full((2,), expected, dtype=torch.float64), rtol=1e-6, atol=1e-12
        )


def test_draws_are_a_function_of_seed_and_step():
    g, solution = Equilibrium(Affine(matrix(6, 0.9)), SOLVER).solve(random(2, 6))
    first = SpectralRadius(1.0, limit=0.1, n_steps=1)
    one, same = (first.penalty(g, solution, step=3) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, first.penalty(g, solution, step=4))
    assert not torch.equal(one, SpectralRadius(1.0, 0.1, 1, seed=1).penalty(g, solution, step=3))


@pytest.mark.slow
def test_training_with_it_makes_the_iteration_converge(tmp_path):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    run = Trainer(max_epochs=60, accelerator="cpu", default_root_dir=tmp_path,
                  enable_model_summary=False, **quiet)  # fmt: skip
    torch.manual_seed(0)
    module = ImplicitLightningModule(AffineOperator(1.02), AffineObjective(), Picard(max_iter=10),
                                     regularizers=[SpectralRadius(100.0, limit=0.5)])  # fmt: skip
    module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.05)
    run.fit(module, AffineData())
    assert torch.linalg.eigvals(module.operator.weight).abs().max() < 0.6
    assert "train/spectral_radius" in run.callback_metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, "`SpectralRadius.weight` must be at least 0 and finite, got -1.0"),
        ({"weight": 1.0, "limit": 0.0}, "`SpectralRadius.limit` must be positive, got 0.0"),
        ({"weight": 1.0, "n_steps": 0}, "`SpectralRadius.n_steps` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpectralRadius(**settings)


def test_an_estimate_takes_a_step_at_least():
    g, solution = Equilibrium(Affine(matrix(2, 0.5)), SOLVER).solve(random(1, 2))
    with pytest.raises(ValueError, match="`n_steps` must be at least 1, got 0"):
        growth_rate(g, solution.z, n_steps=0)
