"""Errors, perturbations, pictures and files of the deblurring task."""

import csv

import numpy as np
import pytest
import torch
from imaging.imaging_problem import batch, denoiser
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from lit_implicit import Equilibrium, ExplicitLightningModule, Picard
from lit_implicit.errors import DataError
from lit_implicit.probes import measure_lipschitz_curve, measure_test_time_curve
from lit_implicit.solvers import Solution
from lit_implicit.testing import objective_checks
from lit_implicit_imaging.blur import transfer_function
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.modes import MODES, pattern
from lit_implicit_imaging.objective import ImagingObjective


@pytest.mark.parametrize("check", objective_checks())
def test_objective_keeps_the_contract(check):
    check(ImagingObjective(), batch(3))


def test_loss_error_and_decibels_are_one_number_in_three_scales():
    objective, one = ImagingObjective(), batch(2, dtype=torch.float64)
    y = one.target + torch.tensor([0.1, 0.01]).double().view(2, 1, 1, 1)
    assert torch.allclose(objective.loss(y, one), torch.tensor([1e-2, 1e-4]).double())
    assert torch.allclose(objective.error(y, one), torch.tensor([0.1, 0.01]).double())
    assert torch.allclose(objective.scores["psnr"](y, one), torch.tensor([20.0, 40.0]).double())
    metrics = objective.metrics()
    for part in ([True, False], [False, True]):
        keep = torch.tensor(part)
        metrics.update(preds=y[keep], target=one.target[keep])
    found = metrics.compute()
    assert float(found["psnr"]) == pytest.approx(30.0)  # of each image, then the mean
    assert 0.9 < float(found["ssim"]) < 1.0


def test_autocast_changes_no_metric(tmp_path):
    """SSIM is a difference of what is nearly equal: in bfloat16 it was 0.24 instead of 0.65."""
    one, quiet = batch(2), dict.fromkeys(("enable_progress_bar", "logger"), False)
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        module = ExplicitLightningModule(Observation(), ImagingObjective())
        run = Trainer(accelerator="cpu", precision=precision, default_root_dir=tmp_path,
                      enable_model_summary=False, **quiet)  # fmt: skip
        found[precision] = run.test(module, DataLoader([one], batch_size=None), verbose=False)[0]
    assert found["bf16-mixed"]["test/ssim"] == pytest.approx(
        found["32-true"]["test/ssim"], abs=1e-6
    )
    assert found["bf16-mixed"]["test/psnr"] == pytest.approx(
        found["32-true"]["test/psnr"], abs=1e-4
    )


class Observation(nn.Module):
    """Answers with what it was given."""

    def forward(self, x):
        return x.observation


@pytest.mark.parametrize("size", [(32, 32), (32, 40), (33, 47)])
@pytest.mark.parametrize("mode", MODES)
def test_a_perturbation_is_one_cosine_seen_through_the_blur(mode, size):
    one = batch(2, *size, dtype=torch.float64)
    found = ImagingObjective(step=0.01).perturb(one, mode)
    moved = found.batch.target - one.target
    # 0.01 in the orthonormal transform, twice (a frequency and its mirror image), three channels.
    expected = torch.full((2,), 0.01 * 6**0.5).double()
    assert torch.allclose(moved.flatten(1).norm(dim=1), expected, rtol=1e-9)
    spectrum = torch.fft.rfft2(pattern(size, mode), norm="ortho")
    (row, column), = (spectrum.abs() > 1e-9).nonzero()[:1].tolist()  # fmt: skip
    gain = transfer_function(one.x.kernel, size)[:, 0, row, column].abs()
    assert torch.allclose(found.size, gain * expected, rtol=1e-9)
    seen = found.batch.x.observation - one.x.observation
    assert torch.allclose(seen.flatten(1).norm(dim=1), found.size, rtol=1e-9)
    assert found.valid.all()


def test_frequencies_are_at_their_percentiles():
    size = (16, 16)
    lengths = (
        torch.fft.fftfreq(16).double()[:, None].square() + torch.fft.rfftfreq(16).double().square()
    )
    ranked = lengths.flatten().sort().values
    for mode, share in MODES.items():
        spectrum = torch.fft.rfft2(pattern(size, mode)).abs()
        (length,) = lengths[spectrum > 1e-9].unique().tolist()
        assert length == pytest.approx(float(ranked[int(share * (len(ranked) - 1))]))


def test_curves_of_a_linear_model_are_those_of_its_frequencies():
    """Without a denoiser y_t is linear in x, so each mode's slope is known at each t."""

    class Identity(torch.nn.Module):
        def forward(self, image, sigma):
            return image

    objective, one = ImagingObjective(), batch(2, dtype=torch.float64)
    layer = Equilibrium(ImagingHQS(Identity(), stepsize=1.0).double(), Picard())
    curve = measure_lipschitz_curve(layer, objective, [one], 5)
    transfer = transfer_function(one.x.kernel, (32, 32))[:, 0]
    for mode in MODES:
        frequency = torch.fft.rfft2(pattern((32, 32), mode)).abs() > 1e-9
        h = transfer[:, frequency][:, 0].abs()
        left = (1 / (1 + h.square())) ** torch.arange(6.0)[:, None]
        assert torch.allclose(curve.slopes[mode], ((1 - left) / h).amax(1), rtol=1e-6)
        assert curve.target_slopes[mode] == pytest.approx(float((1 / h).amax()), rel=1e-6)
    errors = measure_test_time_curve(layer, objective, [one], 5)
    assert errors.columns()["psnr_mean"] == errors.scores["psnr"].tolist()
    assert errors.scores["psnr"][5] > errors.scores["psnr"][0]


def test_pictures_show_each_photograph_with_its_decibels():
    one = batch(5)
    y = one.target + 0.1
    objective = ImagingObjective()
    answer = objective.figures(y, one)["answer"]
    titles = [axes.get_title() for axes in answer.axes]
    assert titles.count("answer, 20.00 dB") == 3
    assert titles.count("truth") == 3
    iterates = objective.figures_over_iterations({1: y, 4: one.target}, y, one)["iterates"]
    assert "$y_{1}$, 20.00 dB" in [axes.get_title() for axes in iterates.axes]
    one.target = None
    assert "answer" in [axes.get_title() for axes in objective.figures(y, one)["answer"].axes]


def test_images_are_written_without_their_margin_and_listed(tmp_path):
    one = batch(2, 32, 40)
    one.margin, one.files = (4, 3, 2, 1), ("here/a.jpg", "there/a.jpg")
    layer = Equilibrium(ImagingHQS(denoiser()), Picard(rtol=1e-4, max_iter=3))
    with torch.no_grad():
        y, solution = layer(one.x)
    assert isinstance(solution, Solution)
    objective = ImagingObjective()
    objective.write(y, solution, one, tmp_path / "out")
    rows = objective.summary(tmp_path / "out")
    assert [row["restored"] for row in rows] == ["00000_a.png", "00001_a.png"]
    assert [row["status"] for row in rows] == ["MAX_ITER"] * 2
    pixels = np.asarray(Image.open(tmp_path / "out" / "00001_a.png"))
    assert pixels.shape == (29, 33, 3)
    inside = y[1, :, 2:-1, 4:-3].clamp(0, 1).permute(1, 2, 0).mul(255).numpy()
    assert np.abs(pixels - inside).max() <= 0.5 + 1e-4
    with (tmp_path / "out" / "images_00000.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows


def test_photographs_that_nobody_knows_have_no_error():
    one = batch(2)
    one.target = None
    with pytest.raises(DataError, match=r"behind '0.png' is not known, .* `lit-implicit predict`"):
        ImagingObjective().error(one.x.observation, one)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"`ImagingObjective.step` must be positive, got 0.0"):
        ImagingObjective(0.0)
    with pytest.raises(KeyError, match="no mode 'q20'"):
        ImagingObjective().perturb(batch(), "q20")
