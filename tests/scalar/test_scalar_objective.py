"""Errors, perturbations and pictures of functions of one number."""

import pytest
import torch

from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.targets import TARGETS

ALL = list(TARGETS)


def batch(name, n=200, dtype=torch.float64, closest=1e-4):
    x = draw_points(TARGETS[name], "test", n, spread="grid", closest=closest).to(dtype)
    return make_batch(x, name)


def test_error_is_relative_down_to_the_floor_and_the_loss_is_balanced():
    objective, log = ScalarObjective(floor=0.1), batch("log", 3, closest=0.25)
    f = log.target
    assert f[-1] == 0  # log 1
    y = f + torch.tensor([0.01, -0.02, 0.03])
    assert torch.allclose(objective.error(y, log), torch.tensor([0.01, 0.02, 0.3]) / f.new_tensor(
        [-f[0], -f[1], 1.0]))  # fmt: skip
    expected = (torch.tensor([0.01, 0.02, 0.03]) / (1 + f.abs())).square()
    assert torch.allclose(objective.loss(y, log), expected)
    assert torch.allclose(objective.distance(y, f, log), (y - f).abs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_perturbed_points_stay_in_their_part_of_the_domain(name, dtype):
    objective, clean = ScalarObjective(), batch(name, dtype=dtype)
    target = TARGETS[name]
    p = objective.perturb(clean, "x")
    assert p.valid.all()
    assert p.batch.x.dtype == torch.float64
    for low, high in target.intervals:
        inside = (clean.x.double() > low) & (clean.x.double() <= high)
        assert (p.batch.x[inside] > low).all()
        assert (p.batch.x[inside] <= high).all()
    step = 1e-3 * target.distance(clean.x.double()).clamp(max=1)
    assert torch.allclose(p.size, step, rtol=1e-9)
    assert p.batch.target.equal(target.function(p.batch.x))
    # The quotient of the labels is the slope of F, to the curvature over a thousandth.
    quotient = (target.function(clean.x.double()) - p.batch.target).abs() / p.size
    slope = target.slope(clean.x.double()).abs()
    assert torch.allclose(quotient, slope, rtol=5e-3, atol=5e-2)


def test_unknown_mode_is_refused():
    with pytest.raises(KeyError, match=r"no mode 'A'; known: \['x'\]"):
        ScalarObjective().perturb(batch("log"), "A")


def test_select_keeps_points():
    keep = torch.tensor([True, False, True])
    part = ScalarObjective().select(batch("log", 3), keep)
    assert part.index.tolist() == [0, 2]
    assert part.target_name == "log"
    assert len(part.x) == len(part.target) == 2


def test_answer_is_drawn_branch_by_branch_with_dashed_poles():
    part = batch("figure_one", 60)
    figure = ScalarObjective().figures(part.target, part)["answer"]
    (axes,) = figure.axes
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert set(dashed) == {0.0, 1.0}
    solid = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"]
    assert len(solid) == 6  # three branches, of F and of the answer
    assert all((x[0] < pole) == (x[-1] < pole) for x in solid for pole in (0.0, 1.0))


def test_iterates_are_drawn_side_by_side_as_in_the_papers_figure_1():
    part = batch("figure_one", 200)
    step = TARGETS["figure_one"].shape(part.x)
    iterates = {t: (1 - (1 - step) ** t) * part.target for t in (5, 20, 100)}
    figure = ScalarObjective().figures_over_iterations(iterates, part.target, part)["iterates"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["$F$", "$y_{5}$", "$y_{20}$", "$y_{100}$", "$y_{*}$"]
    x, y = (torch.as_tensor(values) for values in figure.axes[2].lines[0].get_data())
    assert torch.allclose(y, (1 - (1 - TARGETS["figure_one"].shape(x)) ** 20) * -x)
    for axes in figure.axes:
        assert axes.get_xlim() == (-2.0, 3.0)
        assert axes.get_ylim() == (-10.0, 10.0)
        dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert set(dashed) == {0.0, 1.0}
    figure.canvas.draw()


@pytest.mark.parametrize("name", ALL)
def test_pictures_show_the_start_and_most_of_the_function(name):
    part = batch(name, 500, closest=1e-2)
    for figures in (
        ScalarObjective().figures(part.target, part),
        ScalarObjective().figures_over_iterations({1: part.target}, part.target, part),
    ):
        (figure,) = figures.values()
        low, high = figure.axes[0].get_ylim()
        assert low < 0 < high
        assert ((part.target > low) & (part.target < high)).double().mean() > 0.9


@pytest.mark.parametrize("settings", [{"floor": 0.0}, {"step": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"`ScalarObjective.{next(iter(settings))}` must"):
        ScalarObjective(**settings)
