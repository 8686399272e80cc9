"""Random fields: their variance, their spectrum, and what they are functions of."""

import numpy as np
import pytest
import torch
from flow.flow_problem import off

from lit_implicit_flow.equation import force_of_curl
from lit_implicit_flow.family import FlowFamily

FAMILIES = [
    FlowFamily(),
    FlowFamily("kolmogorov"),
    FlowFamily("mixed", "flat", 3, 4),
    FlowFamily("random", "flat", 1, 7),
]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_variance_is_one_and_that_of_forces_is_known(family):
    n = 4000
    field = family.draw(4 * family.max_wavenumber + 2, 0, 0, range(n))
    squares = field.square().mean(dim=(-2, -1))
    assert float((squares.mean() - 1).abs()) < 5 * float(squares.std()) / n**0.5
    force = force_of_curl(field).square().sum(1).mean(dim=(-2, -1))
    expected = family.mean_inverse_square
    assert float((force.mean() - expected).abs()) < 5 * float(force.std()) / n**0.5
    assert field.mean(dim=(-2, -1)).abs().max() < 1e-15


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_field_is_a_function_of_its_numbers_at_any_resolution_in_any_batch(family):
    whole = family.draw(32, 5, 1, range(6))
    for i in range(6):
        assert torch.equal(family.draw(32, 5, 1, range(i, i + 1))[0], whole[i])
    assert torch.equal(family.draw(32, 5, 1, range(2, 5)), whole[2:5])
    assert off(family.draw(64, 5, 1, range(6))[:, ::2, ::2], whole) < 1e-14
    for seed, stream in ((6, 1), (5, 2)):
        assert off(family.draw(32, seed, stream, range(6)), whole) > 0.5


def test_spectrum_is_as_it_says():
    family = FlowFamily("random", "peaked", 3, 6)
    n = 3000
    field = family.draw(16, 0, 0, range(n))
    power = torch.fft.fft2(field, norm="forward").abs().square().mean(0)
    k = np.fft.fftfreq(16, 1 / 16)
    square = torch.from_numpy(k[:, None] ** 2 + k[None] ** 2)
    q = square / 9
    expected = torch.where((square > 0) & (square <= 36), q * torch.exp(1 - q), 0.0)
    expected = expected / expected.sum()
    seen = expected > 0
    assert float(power[~seen].max()) < 1e-30
    assert float((power[seen] / expected[seen] - 1).abs().max()) < 6 / n**0.5


def test_kolmogorov_fields_hold_a_shear_along_either_axis():
    family = FlowFamily("kolmogorov", "peaked", 2, 5)
    field = family.draw(24, 0, 0, range(400))
    power = torch.fft.fft2(field, norm="forward").abs().square()
    along = 2 * power[:, 2, 0], 2 * power[:, 0, 2]
    is_x = along[0] > along[1]
    assert 150 < int(is_x.sum()) < 250
    strongest = torch.where(is_x, *along)
    assert abs(float(strongest.mean()) - 0.5) < 0.1  # and a Gaussian's share beside it
    mixed = FlowFamily("mixed", "peaked", 2, 5).draw(24, 0, 0, range(400))
    same = (mixed - field).flatten(1).norm(dim=1) == 0
    plain = FlowFamily().draw(24, 0, 0, range(400))
    gaussian = (mixed - plain).flatten(1).norm(dim=1) == 0
    assert bool((same ^ gaussian).all())
    assert 150 < int(same.sum()) < 250
