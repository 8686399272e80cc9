"""Errors, perturbations, pictures and files of the flow task."""

import csv

import numpy as np
import pytest
import torch
from flow.flow_problem import batch, fields, off

from lit_implicit import Equilibrium, Picard
from lit_implicit.errors import DataError
from lit_implicit.probes import measure_lipschitz_curve, measure_test_time_curve
from lit_implicit.testing import objective_checks
from lit_implicit_flow.equation import (
    curl,
    divergence,
    force_of,
    linearized,
    relative_residual,
    velocity,
)
from lit_implicit_flow.fno import FlowFNO
from lit_implicit_flow.measures import norm
from lit_implicit_flow.modes import FREQUENCIES, STEP, mode_name, wavenumber
from lit_implicit_flow.newton import NewtonKrylov
from lit_implicit_flow.objective import FlowObjective

DOUBLE = torch.float64


@pytest.mark.parametrize("check", objective_checks())
def test_objective_keeps_the_contract(check):
    check(FlowObjective(), batch(3))


def test_loss_error_and_scores_of_answers_that_are_known():
    objective, one = FlowObjective(), batch(3, dtype=DOUBLE)
    y = one.target * torch.tensor([1.0, 1.1, 0.5]).double().view(3, 1, 1, 1)
    wanted = torch.tensor([0.0, 0.1, 0.5]).double()
    for found in (objective.loss(y, one), objective.error(y, one)):
        assert torch.allclose(found, wanted)
    assert torch.allclose(objective.scores["velocity_error"](y, one), wanted)
    residual = objective.scores["equation_residual"]
    assert float(residual(one.target, one).max()) < 1e-12
    assert torch.allclose(residual(0 * y, one), torch.ones(3).double())
    w, f = one.x.physical_vorticity(y), one.x.physical_force()
    assert torch.equal(residual(y, one), relative_residual(w, f, 0.05))
    # In the equation's units: the pair it was made of.
    assert off(f, force_of(0.33 * fields(24, 3), 0.05)) < 1e-12


def test_velocity_forgives_small_scales():
    objective, one = FlowObjective(), batch(2, dtype=DOUBLE)
    points = torch.arange(24.0, dtype=DOUBLE)
    ripple = 0.1 * torch.sin(10 * points * 2 * torch.pi / 24)
    y = one.target + ripple
    assert (objective.scores["velocity_error"](y, one) < 0.3 * objective.error(y, one)).all()


def test_metrics_are_means_over_flows():
    objective, one = FlowObjective(), batch(3)
    y, metrics = 1.5 * one.target, objective.metrics()
    for part in ([True, False, False], [False, True, True]):
        keep = torch.tensor(part)
        metrics.update(preds=y[keep], target=one.target[keep], batch=one.select(keep))
    found = metrics.compute()
    assert float(found["velocity_error"]) == pytest.approx(0.5, rel=1e-5)
    wanted = objective.scores["equation_residual"](y, one).mean()
    assert float(found["equation_residual"]) == pytest.approx(float(wanted), rel=1e-5)


def test_wavenumbers_are_the_papers():
    found = [wavenumber(f, 128) for f in FREQUENCIES]
    assert found == [1, 1, 1, 2, 3, 6, 19, 32, 44, 57, 60, 61, 62, 62, 63]
    assert max(wavenumber(f, n) - n / 2 for f in FREQUENCIES for n in range(4, 300)) < 0


def test_perturbed_flow_and_force_are_a_pair_to_first_order():
    one = batch(3, dtype=DOUBLE)
    for frequency in FREQUENCIES:
        changes = {}
        for step in (1e-3, 1e-4):
            moved = FlowObjective(step=step).perturb(one, mode_name(frequency))
            target, x = moved.batch.target, moved.batch.x
            change = target - one.target
            assert torch.allclose(norm(change), torch.full((3,), step).double(), rtol=1e-9)
            k = wavenumber(frequency, 24)
            spectrum = torch.fft.fft2(change[0, 0], norm="forward").abs()
            assert float(2 * spectrum[k, k].square()) == pytest.approx(step**2 / 24**2, rel=1e-9)
            assert torch.allclose(moved.size, norm(x.force - one.x.force), rtol=1e-9)
            df = x.physical_force() - one.x.physical_force()
            assert divergence(df).abs().max() < 1e-10 * curl(df).abs().max()
            w, dw = (one.x.physical_vorticity(v) for v in (one.target, change))
            assert off(curl(df), linearized(w, dw, one.x.viscosity)) < 1e-9
            # The nonlinear equation differs by the wave's own advection, which is none: a shear.
            left = curl(x.physical_force() - force_of(x.physical_vorticity(target), 0.05))
            changes[step] = float(left.abs().max() / curl(df).abs().max())
        assert max(changes.values()) < 1e-8


def test_perturbed_flow_is_the_solution_under_the_perturbed_force():
    one = batch(2, nu=0.1, dtype=DOUBLE)
    moved = FlowObjective(step=1e-2).perturb(one, "f0.1").batch
    x = moved.x
    found = NewtonKrylov().solve(
        curl(x.physical_force()), x.viscosity, one.x.physical_vorticity(one.target)
    )
    assert found.converged.all()
    wanted = x.physical_vorticity(moved.target)
    assert off(found.vorticity, wanted) < 1e-9
    assert off(wanted, one.x.physical_vorticity(one.target)) > 1e-5


def test_the_papers_size_and_equal_wavenumbers_count_once():
    objective = FlowObjective()
    assert pytest.approx(1e-2 / 32**0.5) == STEP == objective.step
    one = batch(2, side=24)
    valid = [m for m in objective.modes if objective.perturb(one, m).valid.all()]
    numbers = {wavenumber(f, 24) for f in FREQUENCIES}
    assert len(valid) == len(numbers) == 6
    assert valid[:3] == ["f0.01", "f0.3", "f0.5"]
    with pytest.raises(KeyError, match="no mode 'f2'; known"):
        objective.perturb(one, "f2")


def test_curves_of_an_operator_hold_each_wavenumber_once():
    torch.manual_seed(0)
    objective = FlowObjective(frequencies=(0.01, 0.02, 0.5))
    layer = Equilibrium(FlowFNO(width=4, modes=3), Picard())
    one = batch(2, side=16)
    curve = measure_lipschitz_curve(layer, objective, [one], 3)
    assert set(curve.slopes) == {"f0.01", "f0.5"}
    assert curve.slopes["f0.01"][0] == 0  # y_0 looks at no force
    assert all(float(slope[3]) > 0 for slope in curve.slopes.values())
    for name in curve.slopes:  # of w along the wave, what the linearised equation says
        p = objective.perturb(one, name)
        assert curve.target_slopes[name] == pytest.approx(float((STEP / p.size).max()), rel=1e-4)
    errors = measure_test_time_curve(layer, objective, [one], 3)
    assert errors.columns()["equation_residual_mean"] == errors.scores["equation_residual"].tolist()


def test_waves_that_count_once_cost_no_iterations(monkeypatch):
    torch.manual_seed(0)
    layer, one = Equilibrium(FlowFNO(width=2, modes=2), Picard()), batch(2, side=12)
    forward, calls = FlowFNO.forward, []
    monkeypatch.setattr(
        FlowFNO, "forward", lambda self, z, c: calls.append(len(z)) or forward(self, z, c)
    )
    counts = []
    for frequencies in ((0.01, 0.5), (0.01, 0.02, 0.03, 0.5)):
        calls.clear()
        measure_lipschitz_curve(layer, FlowObjective(frequencies), [one], 3)
        counts.append(sum(calls))
    assert counts[0] == counts[1] > 0


def test_divergence_of_leaves_is_allowed():
    objective, one = FlowObjective(), batch(2)
    (force,) = objective.leaves(one.x)
    assert objective.with_leaves(one.x, [2 * force]).force.equal(2 * force)
    assert one.x.force.equal(force)


def test_pictures_show_what_is_asked():
    one = batch(2)
    objective, y = FlowObjective(), 1.1 * one.target
    titles = [a.get_title() for a in objective.figures(y, one)["answer"].axes]
    for wanted in ("truth w", "answer w", "streamlines"):
        assert titles.count(wanted) == 2
    assert sum(t.startswith("error 0.100") for t in titles) == 2
    assert sum(t.startswith("curl f") for t in titles) == 2
    assert sum(t.startswith("residual") for t in titles) == 2
    found = objective.figures_over_iterations({1: y, 4: one.target}, y, one)["iterates"]
    titles = [a.get_title() for a in found.axes]
    assert "$y_{1}$, error 0.100" in titles
    assert "$y_{4}$, error 0.000" in titles
    one.target = None
    titles = [a.get_title() for a in objective.figures(y, one)["answer"].axes]
    assert "truth w" not in titles
    assert objective.figures(torch.nan * y, one)
    assert objective.figures_over_iterations({1: 0 * y}, y, one)


def test_pictures_have_x_to_the_right():
    one = batch(1, side=16)
    y = torch.zeros_like(one.target)
    y[0, 0, 5, 2] = 1.0  # x = 5, y = 2
    image = FlowObjective().figures_over_iterations({}, y, one)["iterates"].axes[-1].images[0]
    shown = np.asarray(image.get_array())
    assert shown[2, 5] == shown.max()
    assert image.origin == "lower"


def test_flows_are_written_in_the_equations_units(tmp_path):
    torch.manual_seed(0)
    one = batch(3, side=16)
    layer = Equilibrium(FlowFNO(width=4, modes=3), Picard(max_iter=2))
    with torch.no_grad():
        y, solution = layer(one.x)
    objective = FlowObjective()
    objective.write(y, solution, one, tmp_path / "out")
    with np.load(tmp_path / "out" / "flows_00000.npz") as arrays:
        assert np.allclose(arrays["vorticity"], y[:, 0].numpy() * 0.5)
        assert np.allclose(arrays["force"], one.x.force.numpy() * 0.2)
        wanted = velocity(torch.from_numpy(arrays["vorticity"])).numpy()
        assert np.allclose(arrays["velocity"], wanted, atol=1e-6 * abs(wanted).max())
        assert abs(wanted).max() > 0
        assert arrays["index"].tolist() == [0, 1, 2]
    rows = objective.summary(tmp_path / "out")
    assert [row["flow"] for row in rows] == ["0", "1", "2"]
    assert [float(r["error"]) for r in rows] == pytest.approx(
        objective.error(y, one).tolist(), rel=1e-2
    )
    with (tmp_path / "out" / "flows_00000.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows
    one.target, one.names = None, ("a.npy", "b.npy[0]", "b.npy[1]")
    objective.write(y, None, one, tmp_path / "own")
    rows = objective.summary(tmp_path / "own")
    assert [row["flow"] for row in rows] == list(one.names)
    assert "error" not in rows[0]
    with pytest.raises(DataError, match=r"flow under the force of 'a.npy' is not known"):
        objective.loss(y, one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frequencies": (0.1, 1.0)}, "above 0 and below 1, got 1.0"),
        ({"frequencies": (0.0,)}, "above 0 and below 1, got 0.0"),
        ({"step": 0.0}, "`FlowObjective.step` must be positive, got 0.0"),
        ({"step": float("nan")}, "must be positive, got nan"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        FlowObjective(**options)
