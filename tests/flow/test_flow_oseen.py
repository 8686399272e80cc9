"""The structured operator: exact pairs stay, its step is that of dense algebra, it is symmetric."""

import math
from dataclasses import replace

import pytest
import torch
from flow.flow_problem import batch, fields, grid, off

from lit_implicit.reporting.report import count_parameters
from lit_implicit.testing import operator_checks
from lit_implicit_flow.advection import AdvectionMatrix
from lit_implicit_flow.equation import balance, curl, force_of, linearized, relative_residual
from lit_implicit_flow.oseen import FlowOseen
from lit_implicit_flow.samples import shifted
from lit_implicit_flow.shells import ShellTable
from lit_implicit_flow.spectral import Spectral
from lit_implicit_flow.waves import amplitudes, half_disk, spectrum_of

WIDE = torch.float64


def drawn(seed=0, **options):
    """An operator with random weights, none of which has a value of its own."""
    torch.manual_seed(seed)
    operator = FlowOseen(**options).double()
    with torch.no_grad():
        for p in operator.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return operator


def moved(operator, x, z):
    """G(z, x) - z."""
    return (operator(z, operator.encode(x)) - z).detach()


@pytest.mark.parametrize("check", operator_checks())
def test_operator_keeps_the_contract(check):
    check(drawn(waves=2, n_shells=4).float(), batch(3, side=14, nu=0.1).x)


@pytest.mark.parametrize("nu", [1.0, 0.01, 0.001])
@pytest.mark.parametrize("side", [21, 24])
def test_exact_pairs_are_fixed_points_whatever_the_weights(nu, side):
    for seed in range(3):
        one = batch(3, side, nu, WIDE, scales=(0.2, 0.5))
        size = one.target.flatten(1).norm(dim=1)
        left = moved(drawn(seed), one.x, one.target).flatten(1).norm(dim=1) / size
        assert left.max() < 1e-10  # rounding, over the damping where that is small
        # Elsewhere it moves: by about as much as it is off.
        other = moved(drawn(seed), one.x, 1.1 * one.target).flatten(1).norm(dim=1) / size
        assert other.min() > 1e-3


@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_flows_are_found_from_rest_at_large_viscosity_and_the_residual_falls(nu):
    one = batch(3, 24, nu, WIDE)
    operator = FlowOseen().double()
    c = operator.encode(one.x)
    z = operator.init_state(c)
    assert not z.any()
    force = one.x.physical_force()
    last = torch.ones(3, dtype=WIDE)
    with torch.no_grad():
        for _ in range(60):
            z = operator(z, c)
            left = relative_residual(one.x.physical_vorticity(z), force, one.x.viscosity)
            assert (left < torch.maximum(last, torch.tensor(1e-12))).all()
            last = left
    assert off(z, one.target) < 1e-8


def test_step_is_the_least_squares_solution_of_the_linearised_equation():
    nu, limit, side = 0.05, 3, 16
    operator = drawn(waves=limit, n_shells=5)
    one = batch(1, side, nu, WIDE, scales=(1.0, 1.0))
    w = 0.2 * fields(side, 1, seed=5, max_wavenumber=3)
    columns, rows = half_disk(limit), half_disk(2 * limit)
    pairs = torch.cat([torch.eye(len(columns)), 1j * torch.eye(len(columns))]).to(torch.complex128)
    basis = torch.fft.irfft2(spectrum_of(pairs, columns, side), s=(side, side), norm="forward")

    def parts(field, waves):
        found = amplitudes(torch.fft.rfft2(field, norm="forward"), waves)
        return torch.cat([found.real, found.imag], dim=-1)

    with torch.no_grad():
        spectrum, weight = (
            table(waves.square().sum(dim=1)).repeat(2)
            for table, waves in ((operator.spectrum, columns), (operator.weight, rows))
        )
        j = parts(linearized(w.expand_as(basis), basis, nu), rows).T
        wanted = curl(one.x.force) - balance(w, nu)
        size = curl(one.x.force).norm()
        power = 1 + operator.log_power.exp()
        d = operator.log_damping.exp() * (wanted.norm() / size) ** power
        scaled = weight.sqrt()[:, None] * j * spectrum.sqrt()
        d = d * scaled.square().sum(dim=0).mean()
        # min |sqrt(W) (r - J q)|^2 + d |(w + q) / sqrt(S)|^2 as one tall system
        tall = torch.cat([weight.sqrt()[:, None] * j, (d / spectrum).sqrt().diag()])
        drawn_back = -(d / spectrum).sqrt() * parts(w, columns)[0]
        right = torch.cat([weight.sqrt() * parts(wanted, rows)[0], drawn_back])
        q = torch.linalg.lstsq(tall, right[:, None]).solution[:, 0]
    step = moved(operator, one.x, w[:, None])[:, 0]
    assert off(parts(step, columns), q[None]) < 1e-10


def test_short_waves_are_solved_exactly_where_viscosity_rules():
    """A force of one short wave: a Stokes flow, which no advection reaches from rest."""
    operator = FlowOseen(waves=1, damping=1e-12).double()
    one = batch(1, 16, 0.05, WIDE, scales=(1.0, 1.0))
    points = torch.arange(16, dtype=WIDE) * (2 * math.pi / 16)
    w = torch.cos(4 * points)[:, None].expand(16, 16)[None]
    x = replace(one.x, force=force_of(w, 0.05))
    assert off(moved(operator, x, torch.zeros(1, 1, 16, 16, dtype=WIDE)), w[:, None]) < 1e-9


@pytest.mark.parametrize("nu", [0.3, 0.05, 0.02])
def test_short_waves_on_a_sine_shear_are_damped_without_any_learned_damping(nu):
    """u = cos y along x, and ripples along x on it: its speed is up to sqrt(2) of its mean."""
    operator = FlowOseen(waves=1).double()
    with torch.no_grad():
        operator.drag.log_values.fill_(-30.0)
        operator.log_damping.fill_(-30.0)
        x, y = grid(32)
        w = torch.sin(y)[None, None]
        one = batch(1, 32, nu, WIDE, scales=(1.0, 1.0))
        c = operator.encode(replace(one.x, force=force_of(w[:, 0], nu)))
        ripples = 1e-4 * torch.stack([torch.cos(k * x) for k in (4, 6, 8)])[:, None]
        z, c = w + ripples, replace(c, curl_f=c.curl_f.expand(3, -1, -1), nu=c.nu.expand(3))
        sizes = []
        for _ in range(100):
            z = operator(z, c)
            sizes.append((z - w).flatten(1).norm(dim=1))
    sizes = torch.stack(sizes) / ripples.flatten(1).norm(dim=1)
    assert (sizes < 1).all()
    assert (sizes[-1] < 0.35).all()


def test_random_starts_end_at_the_flow_and_beyond_the_long_waves_are_drawn_to_rest():
    one = batch(4, 24, 0.1, WIDE)
    operator = FlowOseen().double()
    c = operator.encode(one.x)
    torch.manual_seed(0)
    noise = torch.randn_like(one.target)
    z = noise * one.target.norm() / noise.norm()
    with torch.no_grad():
        far = operator(z, c)
        for _ in range(60):
            z = operator(z, c)
    assert off(z, one.target) < 1e-8
    s = Spectral.of(noise[:, 0])
    short = s.kept * (s.square > 6**2)
    start = noise[:, 0] * one.target.norm() / noise.norm()
    sizes = [(short * s.transform(w).abs()).norm() for w in (start, far[:, 0])]
    assert sizes[1] < 0.7 * sizes[0]


def test_short_part_of_a_step_is_the_formula():
    operator, nu = drawn(waves=2, n_shells=6), 0.05
    one = batch(2, 16, nu, WIDE, scales=(1.0, 1.0))
    w = 0.2 * fields(16, 2, seed=5, max_wavenumber=3)
    s = Spectral.of(w)
    with torch.no_grad():
        c = operator.encode(one.x)
        r = s.transform(curl(one.x.force) - balance(w, nu))
        given = s.transform(c.curl_f)
        damping = operator._damping(r, given, 1 + (s.ky > 0))
        _, mean = operator._long(s.transform(w), r, c.nu, damping)
        speed2 = s.fine(s.velocity(s.transform(w))).square().sum(dim=-3).mean(dim=(-2, -1))
        spectrum, weight, drag = (
            t(s.square) for t in (operator.spectrum, operator.weight, operator.drag)
        )
        viscous = nu * s.square
        pull = (damping * mean)[:, None, None] / (spectrum * weight)
        carried = (1 + drag**2) * speed2[:, None, None] * s.square
        wanted = (viscous * r - pull * s.transform(w)) / (viscous**2 + carried + pull)
        found = s.transform(moved(operator, one.x, w[:, None])[:, 0])
    short = s.kept * (s.square > 2**2) > 0
    assert (pull * s.transform(w).abs())[..., short].max() > 1e-3
    assert torch.allclose(found[:, short], wanted[:, short], rtol=1e-8, atol=1e-12)


def test_far_starts_and_no_force_stay_finite_in_single_precision():
    one = batch(2, 24, 0.05)
    operator = FlowOseen()
    with torch.no_grad():
        operator.log_power.fill_(1.2)
        for force in (one.x.force, torch.zeros_like(one.x.force)):
            c = operator.encode(replace(one.x, force=force))
            for size in (1.0, 1e5):
                assert operator(size * torch.randn(2, 1, 24, 24), c).isfinite().all()


def turned(field):
    """A quarter turn, (x, y) -> (-y, x), of a scalar on the periodic grid."""
    return torch.roll(field.transpose(-1, -2).flip(-2), 1, dims=-2)


def test_step_commutes_with_shifts_reflections_and_quarter_turns():
    side = 16
    operator, one = drawn(), batch(3, side, 0.02, WIDE)
    w, truth = 0.3 * fields(side, 3, seed=3), one.x.physical_vorticity(one.target)
    step = moved(operator, one.x, w[:, None])
    shifts = torch.tensor([[1, 0], [4, 7], [14, 3]])
    maps = {
        "shift": lambda v: shifted(v[:, None], shifts)[:, 0],
        "reflection": lambda v: -v.transpose(-1, -2),  # vorticity is a pseudoscalar
        "turn": turned,
    }
    for name, change in maps.items():
        force = force_of(change(truth), 0.02) / one.x.force_scale[:, None, None, None]
        found = moved(operator, replace(one.x, force=force), change(w)[:, None])
        assert off(found[:, 0], change(step[:, 0])) < 1e-10, name
        assert off(found, step) > 0.1, name


def test_step_is_the_same_map_at_any_resolution():
    operator = drawn()
    steps = []
    for side in (32, 64, 81):
        x = batch(2, side, 0.02, WIDE).x
        steps.append(moved(operator, x, 0.3 * fields(side, 2, seed=3)[:, None]))
    assert off(steps[1][..., ::2, ::2], steps[0]) < 1e-10
    spectra = [torch.fft.rfft2(step, norm="forward")[..., :10, :10] for step in steps]
    assert off(spectra[2], spectra[1]) < 1e-10


def test_mean_and_half_the_sampling_wavenumber_are_no_part_of_the_answer():
    operator, one = drawn(), batch(2, 16, 0.05, WIDE)
    c = operator.encode(one.x)
    checkers = 0.1 * (1 - 2 * (torch.arange(16) % 2)).to(WIDE)
    with torch.no_grad():
        assert off(operator(one.target + 0.3 + checkers, c), operator(one.target, c)) < 1e-12


def test_gradients_reach_all_weights():
    operator, one = FlowOseen(), batch(2, 24, 0.05)
    c = operator.encode(one.x)
    z = operator.init_state(c)
    for _ in range(3):
        z = operator(z, c)
    z.square().sum().backward()
    for name, p in operator.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_it_has_few_parameters():
    assert count_parameters(FlowOseen()) == 3 * 16 + 2


@pytest.mark.parametrize("side", [16, 15])
def test_matrix_of_the_oseen_operator_is_the_linearised_equation(side):
    w, change = fields(side, 2), fields(side, 2, seed=4, max_wavenumber=3)
    columns, rows = half_disk(3), half_disk(7)
    matrix = AdvectionMatrix.of(rows, columns, side, WIDE)(Spectral.of(w).transform(w))
    given = amplitudes(torch.fft.rfft2(change, norm="forward"), columns)
    found = (matrix @ torch.cat([given.real, given.imag], dim=1)[..., None])[..., 0]
    wanted = amplitudes(torch.fft.rfft2(linearized(w, change, 0.0), norm="forward"), rows)
    assert off(found, torch.cat([wanted.real, wanted.imag], dim=1)) < 1e-13


def test_tables_hold_logarithms_at_whole_wavenumbers():
    table = ShellTable(4).double()
    values = torch.tensor([1.0, 4.0, 2.0, 8.0], dtype=WIDE)
    with torch.no_grad():
        table.log_values.copy_(values.log())
        assert off(table(torch.tensor([[1, 4, 9, 16]])), values[None]) < 1e-14
        between = torch.tensor([1.5**2, 2.5**2, 3.25**2, 0.0, 400.0])
        wanted = torch.tensor([2.0, 8**0.5, 2 * 4**0.25, 1.0, 8.0], dtype=WIDE)
        assert off(table(between)[None], wanted[None]) < 1e-14
    assert (ShellTable(3, 0.5)(torch.arange(9)) == 0.5).all()


def test_disk_of_waves_has_one_of_each_pair_on_the_grid():
    waves = {tuple(k) for k in half_disk(5).tolist()}
    both = waves | {(-a, -b) for a, b in waves}
    wanted = {(a, b) for a in range(-5, 6) for b in range(-5, 6) if 0 < a * a + b * b <= 25}
    assert both == wanted
    assert len(waves) == len(wanted) / 2
    assert int(half_disk(5, 8).abs().max()) == 3
    s = Spectral.of(torch.zeros(8, 8))
    assert all(s.kept[a, b] for a, b in half_disk(9, 8).tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"waves": 0}, "`FlowOseen.waves` must be at least 1, got 0"),
        ({"n_shells": 0}, "`FlowOseen.n_shells` must be at least 1, got 0"),
        ({"damping": 0.0}, "`FlowOseen.damping` must be positive, got 0.0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        FlowOseen(**options)
