"""Wavenumbers and products, against trigonometry."""

import pytest
import torch
from flow.flow_problem import fields, grid, off

from lit_implicit_flow.spectral import Spectral

SIDES = [8, 9, 15, 16, 32]


@pytest.mark.parametrize("n", SIDES)
def test_derivatives_of_waves_are_those_of_calculus(n):
    x, y = grid(n)
    k = (n - 1) // 2
    wave = torch.sin(k * x + 2 * y)[None]
    s = Spectral.of(wave)
    along = s.field(1j * s.kx * s.transform(wave)), s.field(1j * s.ky * s.transform(wave))
    assert off(along[0], k * torch.cos(k * x + 2 * y)[None]) < 1e-12
    assert off(along[1], 2 * torch.cos(k * x + 2 * y)[None]) < 1e-12
    assert off(s.field(s.square * s.transform(wave)), (k**2 + 4) * wave) < 1e-12


@pytest.mark.parametrize("n", SIDES)
def test_the_way_to_the_fine_grid_and_back_changes_nothing(n):
    field = torch.randn(2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s = Spectral.of(field)
    kept = s.field(s.transform(field))
    fine = s.fine(s.transform(field))
    assert fine.shape[-1] >= 1.5 * n
    assert off(s.field(s.coarse(fine)), kept) < 1e-13
    # On the fine grid it is the same trigonometric polynomial: where points coincide, as here.
    if fine.shape[-1] * 2 == 3 * n:
        assert off(fine[:, ::3, ::3], kept[:, ::2, ::2]) < 1e-12


def test_what_has_no_real_derivative_and_the_mean_are_left_out():
    n = 8
    x, y = grid(n)
    odd = (torch.cos(4 * x) + torch.cos(4 * y) + 7)[None]
    s = Spectral.of(odd)
    assert s.field(s.transform(odd)).abs().max() < 1e-13


@pytest.mark.parametrize("n", [15, 16])
def test_products_are_free_of_aliasing(n):
    """Cut-off fields of full bandwidth, against the same product on a grid twice as fine."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(2, n, n, dtype=torch.float64, generator=generator)
    s = Spectral.of(w)
    w = s.field(s.transform(w))
    u = s.fine(s.velocity(s.transform(w)))
    found = s.field(s.advection(u, u))
    m = 4 * n
    big = Spectral.of(w.new_zeros(1, m, m))
    half = (n + 1) // 2
    spectrum = torch.zeros(2, m, m // 2 + 1, dtype=torch.complex128)
    own = s.transform(w)
    spectrum[:, :half, :half] = own[:, :half, :half]
    spectrum[:, 1 - half :, :half] = own[:, 1 - half :, :half]
    spectrum *= m**2 / n**2
    v = big.field(big.velocity(spectrum))
    slopes = big.field(torch.stack([1j * big.kx * spectrum, 1j * big.ky * spectrum], 1))
    product = torch.fft.rfft2((v * slopes).sum(1)) * (n**2 / m**2)
    cut = torch.zeros_like(own)
    cut[:, :half, :half] = product[:, :half, :half]
    cut[:, 1 - half :, :half] = product[:, 1 - half :, :half]
    cut[:, 0, 0] = 0
    assert off(found, s.field(cut)) < 1e-12


def test_advection_is_bilinear_and_symmetric():
    a, b = fields(16, 2, max_wavenumber=3), fields(16, 2, seed=1, max_wavenumber=3)
    s = Spectral.of(a)
    u, v = (s.fine(s.velocity(s.transform(w))) for w in (a, b))
    together = s.advection(u + v, u + v)
    apart = s.advection(u, u) + s.advection(v, v) + 2 * s.advection(u, v)
    assert off(s.field(together), s.field(apart)) < 1e-12
    assert off(s.field(s.advection(u, v)), s.field(s.advection(v, u))) < 1e-13


def test_precision_and_device_are_the_fields():
    for dtype in (torch.float32, torch.float64):
        s = Spectral.of(torch.zeros(4, 4, dtype=dtype))
        assert s.kx.dtype == s.inverse.dtype == dtype
        assert s is Spectral.of(torch.ones(3, 4, 4, dtype=dtype))


def test_kept_wavenumbers_may_be_used_with_gradients_after_inference():
    with torch.inference_mode():
        Spectral.of(torch.zeros(22, 22))
    w = torch.randn(22, 22, requires_grad=True)
    s = Spectral.of(w)
    (s.transform(w) * s.inverse).abs().sum().backward()
    assert w.grad is not None


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 3, 3), (8,)])
def test_fields_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(..., N, N\) with N of at least 4, got \("):
        Spectral.of(torch.zeros(shape))
