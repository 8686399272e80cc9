"""Contraction factors and spectral radii against dense linear algebra."""

import pytest
import torch
from problems import PROBLEMS, Affine, RaggedAffine, Tanh, matrix, random, systems

from lit_implicit import AbstractOperator, Equilibrium
from lit_implicit.probes import contraction_factor, spectral_radius
from lit_implicit.probes.contraction import around, largest_eigenvalue, largest_singular_value
from lit_implicit.probes.state_jacobian import StateJacobian


def bound(operator, x):
    g, z0 = Equilibrium(operator).bind(x)
    return g, torch.zeros_like(z0)


def test_products_are_those_of_the_dense_jacobian():
    problem = PROBLEMS[1]
    g, _ = bound(problem.make(), problem.x)
    jacobian = StateJacobian(g, problem.z_star)
    v = random(*problem.z_star.shape, seed=8)
    for i, dense in enumerate(dense_jacobians(problem)):
        assert torch.allclose(jacobian.times(v)[i], dense @ v[i], rtol=1e-12)
        assert torch.allclose(jacobian.transposed_times(v)[i], dense.T @ v[i], rtol=1e-12)
    assert torch.allclose(jacobian.gz, problem.z_star)


def dense_jacobians(problem):
    a = problem.make().a.detach()
    return [(1 - z**2)[:, None] * a for z in problem.z_star]  # of tanh(A z + x) at z*


def test_factor_and_radius_of_tanh_are_those_of_a_dense_jacobian_at_the_fixed_point():
    problem = PROBLEMS[1]
    g, _ = bound(problem.make(), problem.x)
    dense = torch.stack(dense_jacobians(problem))
    factor = contraction_factor(g, problem.z_star)
    assert torch.allclose(factor, torch.linalg.matrix_norm(dense, 2), rtol=1e-10)
    radius = spectral_radius(g, problem.z_star)
    assert torch.allclose(radius, torch.linalg.eigvals(dense).abs().amax(-1), rtol=1e-8)
    assert (radius < factor * 0.99).all()  # two numbers, and this matrix tells them apart


def test_factor_of_a_ragged_batch_is_that_of_each_sample_alone():
    sizes, radii = (3, 7, 2, 5), (0.5, 1.9, 0.1, 0.8)
    matrices = [matrix(n, r, seed=n) for n, r in zip(sizes, radii, strict=True)]
    parts = [(a, random(len(a), seed=1)) for a in matrices]
    g, z = bound(RaggedAffine(), systems(*parts))
    factor, radius = contraction_factor(g, z), spectral_radius(g, z)
    assert torch.allclose(factor, torch.tensor(radii, dtype=torch.float64), rtol=1e-10)
    expected = torch.stack([torch.linalg.eigvals(a).abs().max() for a in matrices])
    assert torch.allclose(radius, expected, rtol=1e-8)
    for i, part in enumerate(parts):
        alone, z_alone = bound(RaggedAffine(), systems(part))
        assert torch.allclose(contraction_factor(alone, z_alone), factor[i], rtol=1e-10)


def test_estimate_rises_with_the_steps_stays_below_and_says_when_it_has_settled():
    a = matrix(60, 1.3, seed=2)
    g, z = bound(Affine(a), random(4, 60))
    jacobian = StateJacobian(g, z)
    estimates = [largest_singular_value(jacobian, k) for k in (1, 2, 4, 8, 16, 60)]
    values = torch.stack([estimate.value for estimate in estimates])
    assert (values.diff(dim=0) > -1e-12).all()
    assert (values <= 1.3 + 1e-9).all()
    assert torch.allclose(values[-1], values.new_tensor(1.3), rtol=1e-9)
    assert not estimates[0].settled.any()
    assert estimates[-1].settled.all()
    for estimate in estimates:  # a singular value lies within the uncertainty
        s = torch.linalg.svdvals(a)
        gap = (s[None] ** 2 - estimate.value[:, None] ** 2).abs().amin(1)
        allowed = 2 * estimate.uncertainty * estimate.value**2
        assert (gap <= allowed + 1e-9).all()


def test_a_complex_pair_has_the_radius_of_its_modulus():
    turn = random(3, 3).new_tensor([[0, -0.9, 0], [0.9, 0, 0], [0, 0, 0.3]])
    shear = turn.new_tensor([[1, 5, 1], [0, 1, 2], [0, 0, 1]])
    a = shear @ turn @ torch.linalg.inv(shear)
    g, z = bound(Affine(a), random(2, 3))
    assert torch.allclose(spectral_radius(g, z), z.new_tensor(0.9), rtol=1e-9)
    assert (contraction_factor(g, z) > 4).all()


def test_an_eigenvalue_that_has_not_settled_is_no_answer():
    g, z = bound(Affine(matrix(60, 1.0, seed=2)), random(2, 60))
    assert spectral_radius(g, z, n_steps=3).isnan().all()
    assert largest_eigenvalue(StateJacobian(g, z), 3).value.isfinite().all()


class Constant(AbstractOperator):
    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return c.clone()


def test_an_operator_that_ignores_its_state_has_factor_zero():
    g, z = bound(Constant(), random(3, 2))
    assert contraction_factor(g, z).tolist() == [0, 0, 0]
    assert spectral_radius(g, z).tolist() == [0, 0, 0]


def test_a_sample_that_is_not_finite_spoils_no_other():
    class Broken(Affine):
        def forward(self, z, c):
            return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)

    x = random(3, 4)
    x[1, 0] = 100.0
    g, z = bound(Broken(matrix(4, 0.7)), x)
    factor = contraction_factor(g, z)
    assert factor[1].isnan()
    assert torch.allclose(factor[[0, 2]], z.new_tensor(0.7), rtol=1e-9)


def test_around_a_state_differences_are_below_the_norm_and_exact_for_a_multiple():
    a = 0.6 * torch.linalg.qr(matrix(5, 1.0))[0]  # every step shrinks by 0.6
    g, z = bound(Affine(a), random(3, 5))
    factor, quotient = around(g, random(3, 5), 0.1)
    assert torch.allclose(factor, z.new_tensor(0.6), rtol=1e-10)
    assert torch.allclose(quotient, z.new_tensor(0.6), rtol=1e-10)
    problem = PROBLEMS[1]
    g, _ = bound(Tanh(problem.make().a.detach()), problem.x)
    factor, quotient = around(g, problem.z_star, 1e-6)
    assert torch.allclose(factor, contraction_factor(g, problem.z_star), rtol=1e-5)
    assert (quotient < factor).all()


def test_float32_works_and_no_step_is_refused():
    g, z = bound(Affine(matrix(4, 0.7)).float(), torch.ones(2, 4))
    assert torch.allclose(contraction_factor(g, z), torch.tensor(0.7), rtol=1e-5)
    with pytest.raises(ValueError, match="`n_steps` must be at least 1, got 0"):
        contraction_factor(g, z, n_steps=0)
