"""The Jacobian penalty against dense Jacobians, closed forms and finite differences."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from problems import Affine, RaggedAffine, Tanh, matrix, random, systems
from torch import nn

from lit_implicit import (
    Anderson,
    Equilibrium,
    Implicit,
    ImplicitLightningModule,
    JacobianFree,
    JacobianNorm,
    Picard,
    Ragged,
    Unrolled,
    jacobian_norm,
)
from lit_implicit.errors import ConfigError
from lit_implicit.regularizers import AbstractRegularizer

SOLVER = Picard(rtol=1e-12, max_iter=500)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def solved(operator, x, adjoint=None):
    g, solution = Equilibrium(operator, SOLVER, adjoint).solve(x)
    return g, solution.z


def dense_jacobians(g, z):
    """dG/dz of each sample, one row of the batch after the other."""
    whole = torch.autograd.functional.jacobian(g, z.detach())
    return [whole[i, :, i] for i in range(len(z))]


def exact_norms(jacobians):
    return torch.stack([j.square().sum() / len(j) for j in jacobians])


def standard_errors(jacobians, n_probes):
    """Of the mean over probes: the variance of v^T M v is 2 (|M|^2 - |diag M|^2), M = J J^T."""
    variances = []
    for j in jacobians:
        m = j @ j.T
        variances.append(2 * (m.square().sum() - m.diagonal().square().sum()) / len(j) ** 2)
    return (torch.stack(variances) / n_probes).sqrt()


@pytest.mark.parametrize("kind", [Affine, Tanh])
def test_mean_over_probes_is_the_exact_norm(kind):
    n_probes = 2000
    g, z = solved(kind(matrix(6, 0.9)), random(3, 6))
    jacobians = dense_jacobians(g, z)
    exact, error = exact_norms(jacobians), standard_errors(jacobians, n_probes)
    found = jacobian_norm(g, z, generator(), n_probes)
    assert (error < 0.03 * exact).all()
    assert ((found - exact).abs() <= 4 * error).all()
    # The spread of single probes is that of the formula, so that 4 of them bound something.
    # (The deviation of 400 numbers is known to 1 / sqrt(800) of it, times 4.)
    single = torch.stack([jacobian_norm(g, z, generator(seed)) for seed in range(400)])
    torch.testing.assert_close(single.std(0), standard_errors(jacobians, 1), rtol=0.15, atol=0.0)


def test_norms_of_systems_of_different_sizes_are_those_of_each():
    n_probes = 2000
    parts = [(matrix(n, 0.8, seed=n), random(n, seed=n)) for n in (3, 6, 2)]
    g, z = solved(RaggedAffine(0.9), systems(*parts))
    found = jacobian_norm(g, z, generator(), n_probes)
    jacobians = [0.9 * a for a, _ in parts]
    error = standard_errors(jacobians, n_probes)
    assert ((found - exact_norms(jacobians)).abs() <= 4 * error).all()


def test_a_probe_is_exact_where_the_jacobian_is_diagonal():
    diagonals = [torch.tensor(d).double() for d in ([0.5], [0.1, -0.7, 0.3], [0.2, 0.9])]
    parts = [(d.diag(), random(len(d))) for d in diagonals]
    g, z = solved(RaggedAffine(), systems(*parts))
    exact = torch.stack([d.square().mean() for d in diagonals])
    for seed in range(5):
        torch.testing.assert_close(jacobian_norm(g, z, generator(seed)), exact)
    for part, norm in zip(parts, exact, strict=True):
        alone = jacobian_norm(*solved(RaggedAffine(), systems(part)), generator())
        torch.testing.assert_close(alone, norm[None])


def test_a_sample_without_entries_has_none():
    class LastEmpty(RaggedAffine):
        def layout(self, z, c):
            return Ragged(c.index, c.n + 1)

    g, z0 = Equilibrium(LastEmpty()).bind(systems((0.5 * torch.eye(2).double(), random(2))))
    assert jacobian_norm(g, z0, generator()).tolist() == [0.25, 0.0]


class Diagonal(Affine):
    """G(z, x) = tanh(a z + B x): its Jacobian is diagonal, and x is embedded by weights."""

    def __init__(self, a, b):
        super().__init__(a)
        self.b = nn.Parameter(b)

    def encode(self, x):
        return x @ self.b.T

    def forward(self, z, c):
        self.n_calls += 1
        return (self.a * z + c).tanh()


@pytest.mark.parametrize(
    "adjoint", [Implicit(), JacobianFree(2), Unrolled()], ids=["implicit", "jfb", "unrolled"]
)
def test_gradient_is_that_of_the_exact_norm(adjoint):
    operator, x = Diagonal(random(4) / 3, random(4, 5)), random(3, 5)
    g, z = solved(operator, x, adjoint)
    found = torch.autograd.grad(
        jacobian_norm(g, z, generator()).mean(), list(operator.parameters())
    )
    # The same at a constant state: the gradient passes G and the encoder, not the solve.
    z, c = z.detach(), operator.encode(x)
    slopes = operator.a * (1 - (operator.a * z + c).tanh().square())
    exact = slopes.square().mean()
    for p, q in zip(found, torch.autograd.grad(exact, list(operator.parameters())), strict=True):
        assert q.abs().max() > 0
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-14)


def test_gradient_agrees_with_finite_differences():
    z, x = random(2, 4), random(2, 4, seed=2)
    a = matrix(4, 0.8).requires_grad_()

    def norms(a):
        operator = Tanh(a.detach())
        del operator.a
        operator.a = a
        g, _ = Equilibrium(operator).bind(x)
        return jacobian_norm(g, z, generator(), n_probes=3)

    assert torch.autograd.gradcheck(norms, (a,))


def test_one_evaluation_and_one_product_per_probe():
    products = 0

    class Counted(Affine):
        def forward(self, z, c):
            gz = super().forward(z, c)

            def count(v):
                nonlocal products
                products += 1

            gz.register_hook(count)
            return gz

    operator = Counted(matrix(4, 0.5))
    g, z0 = Equilibrium(operator).bind(random(2, 4))
    jacobian_norm(g, z0, generator(), n_probes=7)
    assert (operator.n_calls, products) == (1, 7)


def test_without_gradients_it_is_a_number():
    g, z = solved(Tanh(matrix(4, 0.8)), random(2, 4))
    tracked = jacobian_norm(g, z, generator())
    with torch.no_grad():
        found = jacobian_norm(g, z, generator())
    assert tracked.requires_grad
    assert not found.requires_grad
    assert torch.equal(found, tracked)


def test_a_map_that_forgets_its_state_has_norm_zero():
    class Constant(Affine):
        def forward(self, z, c):
            return c @ self.a

    g, z0 = Equilibrium(Constant(matrix(3, 0.5))).bind(random(2, 3))
    assert jacobian_norm(g, z0).tolist() == [0.0, 0.0]


def test_gradient_under_autocast_is_close_to_that_without():
    def gradient(autocast):
        operator = Tanh(matrix(6, 0.8).float())
        layer = Equilibrium(operator, Anderson(rtol=1e-2))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            g, solution = layer.solve(random(8, 6).float())
            penalty = jacobian_norm(g, solution.z, generator(), 20)
        assert penalty.dtype == torch.float32
        penalty.mean().backward()
        return operator.a.grad

    full = gradient(False)
    assert (gradient(True) - full).norm() <= 0.05 * full.norm()  # bfloat16 has 8 bits


def test_draws_are_functions_of_seed_and_step():
    g, solution = Equilibrium(Affine(matrix(6, 0.8)), SOLVER).solve(random(1, 6))

    def drawn(step, **settings):
        return JacobianNorm(1.0, **settings).penalty(g, solution, step).item()

    first = [drawn(step) for step in range(20)]
    assert first == [drawn(step) for step in range(20)]
    assert len(set(first)) > 10
    assert first != [drawn(step, seed=1) for step in range(20)]
    # Not one sequence, shifted.
    assert first[1:] != [drawn(step, seed=1) for step in range(19)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JacobianNorm(-1.0), "weight` must be at least 0 and finite, got -1.0"),
        (lambda: JacobianNorm(float("nan")), "weight` must be at least 0 and finite, got nan"),
        (lambda: JacobianNorm(1.0, 0), "`JacobianNorm.n_probes` must be at least 1, got 0"),
        (
            lambda: jacobian_norm(*solved(Affine(matrix(2, 0.5)), random(1, 2)), n_probes=0),
            "^`n_probes` must be at least 1, got 0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def module_with(*regularizers, operator=None, adjoint=None):
    return ImplicitLightningModule(
        operator or AffineOperator(0.3), AffineObjective(), Picard(), adjoint or Implicit(),
        regularizers=regularizers,
    )  # fmt: skip


def step(module, x):
    logged = {}
    module.log = lambda name, value, **kwargs: logged.update({name: value})
    loss = module.training_step((x, 2 * x), 0)["loss"]
    loss.backward()
    return loss.detach(), logged


@pytest.mark.parametrize(
    "adjoint", [Implicit(), JacobianFree(), Unrolled()], ids=["implicit", "jfb", "unrolled"]
)
def test_the_loss_holds_the_weighted_mean_and_the_logs_the_mean(adjoint):
    x = torch.randn(4, 3)
    plain, penalised = module_with(adjoint=adjoint), module_with(JacobianNorm(2.0), adjoint=adjoint)
    loss, logged = step(plain, x)
    more, logged_more = step(penalised, x)
    # W = 0.3 I, so that |W|^2 / 3 = 0.09 for every probe.
    torch.testing.assert_close(more, loss + 2.0 * 0.09)
    assert logged_more["train/jacobian_norm"].compute().item() == pytest.approx(0.09)
    assert "train/jacobian_norm" not in logged
    assert torch.equal(logged_more["train/loss"].compute(), logged["train/loss"].compute())
    # The diagonal of the gradient is exact too: 2 weight W / 3. Off it, signs have mean zero.
    gradients = [m.operator.weight.grad.diagonal() for m in (plain, penalised)]
    torch.testing.assert_close(gradients[1], gradients[0] + 2.0 * 2 * 0.3 / 3, rtol=1e-5, atol=1e-6)


class Failing(AffineOperator):
    """Samples whose first entry is above 50 become NaN."""

    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)


def test_failed_samples_have_no_penalty():
    x = torch.randn(4, 3)
    x[2, 0] = 100.0
    alone, together = (module_with(JacobianNorm(2.0), operator=Failing()) for _ in range(2))
    expected, _ = step(alone, x[[0, 1, 3]])
    loss, logged = step(together, x)
    torch.testing.assert_close(loss, expected)
    assert logged["train/jacobian_norm"].weight == 3
    torch.testing.assert_close(together.operator.weight.grad, alone.operator.weight.grad)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric MeanMetric was called before")
def test_a_batch_that_fails_whole_logs_the_same_names_and_no_gradient():
    module = module_with(JacobianNorm(2.0), operator=Failing())
    loss, logged = step(module, torch.full((2, 3), 100.0))
    assert loss == 0
    assert {"train/loss", "train/jacobian_norm", "train/n_failed"} == set(logged)
    assert not module.operator.weight.grad.any()


def test_the_input_is_encoded_once():
    class Encoding(AffineOperator):
        n_encoded = 0

        def encode(self, x):
            self.n_encoded += 1
            return nn.functional.dropout(x, 0.5)  # the penalty must see the same mask

    seen = []

    class Residual(AbstractRegularizer):
        weight = 1.0

        def penalty(self, g, solution, step):
            seen.append((g(solution.z) - solution.z).norm(dim=1))
            return seen[-1]

    module = module_with(Residual(), operator=Encoding())
    _, logged = step(module, torch.randn(4, 3))
    assert module.operator.n_encoded == 1
    assert (seen[0] < 1e-3).all()
    assert "train/residual" in logged


def test_training_with_it_makes_the_operator_more_contractive():
    x = torch.randn(8, 3, generator=generator())

    def trained(*regularizers):
        module = module_with(*regularizers)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        for _ in range(40):
            optimizer.zero_grad()
            step(module, x)
            optimizer.step()
        return module.operator.weight.detach().square().sum() / 3

    plain, penalised = trained(), trained(JacobianNorm(5.0))
    assert plain == pytest.approx(0.25, abs=0.03)  # the data are those of W = I / 2
    assert penalised < 0.6 * plain


def test_a_fit_draws_anew_at_each_step_and_logs_the_mean(tmp_path):
    seen = []

    class Noted(JacobianNorm):
        def penalty(self, g, solution, step):
            values = super().penalty(g, solution, step)
            seen.append((step, values.detach()))
            return values

    module = module_with(Noted(1.0))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, AffineData(n_samples=12))
    assert [number for number, _ in seen] == [0, 1, 2]
    mean = torch.cat([values for _, values in seen]).mean()
    torch.testing.assert_close(trainer.callback_metrics["train/noted"], mean)


def test_two_regularizers_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two values as `train/jacobian_norm`"):
        module_with(JacobianNorm(1.0), JacobianNorm(2.0))
