"""The checkpoints in results/: small, and good on photographs and a blur that they never saw."""

from pathlib import Path

import pytest
import torch

import lit_implicit
from lit_implicit.reporting.report import count_parameters
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.measures import psnr

FOLDER = Path(__file__).parents[2] / "results" / "imaging" / "checkpoints"
WEIGHTS = {"denoiser": 321_520, "explicit": 321_521, "hqs": 321_522, "pgd": 321_522}


def restored(name, batch):
    path = FOLDER / f"{name}_seed0.ckpt"
    assert path.stat().st_size < 1_500_000
    model = lit_implicit.load(path)
    assert count_parameters(model) == WEIGHTS[name]
    with torch.no_grad():
        return model.answer(batch, training=False)


def photographs(**settings):
    data = ImagingDataModule(crop=64, n_test=3, **settings)
    data.setup("test")
    return next(iter(data.test_dataloader()))


def test_every_checkpoint_is_known():
    assert sorted(p.name for p in FOLDER.glob("*.ckpt")) == [f"{n}_seed0.ckpt" for n in WEIGHTS]


@pytest.mark.parametrize("name", ["hqs", "pgd"])
def test_equilibria_restore_another_blur_than_they_were_trained_on(name):
    batch = photographs(kernel_size=9)
    y, solution = restored(name, batch)
    assert solution.converged.all()
    seen, found = (psnr(image, batch.target).mean() for image in (batch.x.observation, y))
    # The explicit network knows the one blur that it was trained on.
    passed = psnr(restored("explicit", batch)[0], batch.target).mean()
    assert found > max(seen, passed) + 1


def test_the_denoiser_removes_noise():
    batch = photographs(kernel="delta", noise=0.1)
    y, _ = restored("denoiser", batch)
    assert psnr(y, batch.target).mean() > psnr(batch.x.observation, batch.target).mean() + 5
