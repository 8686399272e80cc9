"""Fourier neural operators: their size, their symmetries, and what neuraloperator computes."""

from dataclasses import replace

import pytest
import torch
from flow.flow_problem import batch, off

from lit_implicit import Equilibrium, Picard
from lit_implicit.errors import ConfigError, DataError
from lit_implicit.reporting.report import count_parameters
from lit_implicit.testing import operator_checks
from lit_implicit_flow.baselines import FlowFNOPass, FlowFNOPlus
from lit_implicit_flow.fno import FlowFNO
from lit_implicit_flow.fourier import FlowSpectralConv
from lit_implicit_flow.samples import shifted

SMALL = {"width": 4, "modes": 3}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (FlowFNO, 2_376_481),
        (FlowFNOPass, 2_376_481),
        (FlowFNOPlus, 2_376_481),
        (lambda: FlowFNOPlus(depth=2), 4_155_457),
        (lambda: FlowFNOPlus(depth=4), 7_713_409),
        (lambda: FlowFNOPlus(width=64), 9_495_873),
    ],
)
def test_parameters_are_the_papers(make, expected):
    assert count_parameters(make()) == expected


@pytest.mark.parametrize("check", operator_checks())
def test_operator_keeps_the_contract(check):
    torch.manual_seed(0)
    check(FlowFNO(**SMALL), batch(3, side=24).x)


@pytest.mark.parametrize("side", [16, 24])
def test_spectral_convolution_is_neuraloperators_at_even_sides(side):
    torch.manual_seed(0)
    layer = FlowSpectralConv(3, 4)
    z = torch.randn(2, 3, side, side)
    theirs = super(FlowSpectralConv, layer).forward(z)
    assert off(layer(z), theirs) < 1e-6
    assert layer.weight.shape == (3, 3, 8, 4)


@pytest.mark.parametrize("side", [8, 9, 16, 17])
def test_spectral_convolution_multiplies_each_wave_by_its_weights(side):
    torch.manual_seed(0)
    layer = FlowSpectralConv(2, 3)
    z = torch.randn(1, 2, side, side, dtype=torch.float64)
    weight = layer.weight.to_tensor().to(torch.complex128)
    spectrum = torch.fft.rfft2(z, norm="forward")
    wanted = torch.zeros_like(spectrum)
    for kx in range(-3, 3):
        for ky in range(3):
            wanted[:, :, kx, ky] = spectrum[:, :, kx, ky] @ weight[:, :, kx + 3, ky]
    found = layer(z)
    assert found.dtype == torch.float64
    assert off(found, torch.fft.irfft2(wanted, s=(side, side), norm="forward")) < 1e-13


@pytest.mark.parametrize("network", [FlowFNOPass, FlowFNOPlus])
def test_without_padding_and_positions_answers_move_with_the_force(network):
    torch.manual_seed(0)
    one = batch(3, side=15, dtype=torch.float64).x
    shifts = torch.tensor([[1, 0], [4, 7], [14, 3]])
    moved = replace(one, force=shifted(one.force, shifts))
    free = network(**SMALL, padding=0, positions=False).double()
    assert off(free(moved), shifted(free(one), shifts)) < 1e-12
    placed = network(**SMALL).double()
    assert off(placed(moved), shifted(placed(one), shifts)) > 1e-4


def test_the_implicit_network_iterates_one_block_from_zero():
    torch.manual_seed(0)
    one = batch(2, side=16, dtype=torch.float64).x
    operator = FlowFNO(**SMALL, padding=3).double()
    c = operator.encode(one)
    assert c.shape == (2, 4, 19, 19)
    assert not c[..., 16:].any()
    assert not c[..., 16:, :].any()
    z = operator.init_state(c)
    for _ in range(3):
        z = operator(z, c)
    layer = Equilibrium(operator, Picard(rtol=0.0, max_iter=3))
    with torch.no_grad():
        y, _ = layer(one)
    assert y.shape == (2, 1, 16, 16)
    assert off(y, operator.decode(z, c).detach()) < 1e-12


def test_plus_of_depth_one_is_one_application_of_g_without_normalisation():
    torch.manual_seed(0)
    implicit, plus = FlowFNO(**SMALL), FlowFNOPlus(**SMALL)
    plus.load_state_dict(implicit.state_dict())
    one = batch(2, side=16).x
    for module in implicit.layers.modules():
        if hasattr(module, "norm"):
            module.norm = torch.nn.Identity()
    c = implicit.encode(one)
    once = implicit.decode(implicit(implicit.init_state(c), c), c)
    assert off(plus(one).detach(), once.detach()) < 1e-5


@pytest.mark.parametrize("network", [FlowFNO, FlowFNOPass, FlowFNOPlus])
def test_gradients_reach_all_weights(network):
    torch.manual_seed(0)
    one = batch(2, side=16).x
    module = network(**SMALL)
    if isinstance(module, FlowFNO):
        c = module.encode(one)
        y = module.decode(module(module(module.init_state(c), c), c), c)
    else:
        y = module(one)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` must be at least 1, got 0"),
        ({"modes": 0}, "`modes` must be at least 1, got 0"),
        ({"padding": -1}, "`padding` must be at least 0, got -1"),
        ({"n_layers": 0}, "`FlowFNO.n_layers` must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        FlowFNO(**{**SMALL, **options})


def test_data_of_too_low_a_resolution_are_refused():
    with pytest.raises(DataError, match="at least 24 points a side, as `modes` is 12, got 22"):
        FlowFNO(width=2).encode(batch(2, side=22).x)
    with pytest.raises(ValueError, match=r"`FlowFNOPlus.depth` must be at least 1, got 0"):
        FlowFNOPlus(depth=0)


def test_forces_that_are_not_square_or_of_another_precision_are_refused():
    operator, one = FlowFNO(**SMALL), batch(2, side=12).x
    with pytest.raises(DataError, match=r"Expected forces of N x N points, got 12 x 10"):
        operator.encode(replace(one, force=one.force[..., :10]))
    with pytest.raises(ConfigError, match=r"are torch.float64, the network's weights torch.float3"):
        operator.encode(batch(2, side=12, dtype=torch.float64).x)
    with torch.autocast("cpu", torch.bfloat16):
        assert operator.encode(replace(one, force=one.force.bfloat16())).isfinite().all()
        with pytest.raises(ConfigError, match=r"are torch.float32, the network's weights torch.f"):
            operator.double().encode(one)


@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_weights_that_lost_what_is_imaginary_are_refused():
    layer = FlowSpectralConv(3, 2)
    assert layer(torch.randn(1, 3, 8, 8).bfloat16()).isfinite().all()
    for dtype, remedy in ((torch.bfloat16, "bf16-mixed"), (torch.float64, r"`\.double\(\)`")):
        cast = FlowSpectralConv(3, 2).to(dtype)
        with pytest.raises(ConfigError, match=rf"which {dtype} does not hold.*{remedy}"):
            cast(torch.randn(1, 3, 8, 8, dtype=dtype))
    wide = FlowSpectralConv(3, 2).double()
    assert wide(torch.randn(1, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64
