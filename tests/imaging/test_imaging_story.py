"""From a denoiser over an equilibrium to a photograph of one's own, by the command line."""

import csv

import numpy as np
import pytest
import yaml
from PIL import Image

from lit_implicit.cli import main
from lit_implicit_imaging.compare import main as compare

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
SMALL = ["--data.crop=32", "--data.n_train=8", "--data.n_val=4", "--data.n_test=5"]
DENOISER = {
    "class_path": "lit_implicit_imaging.denoiser.ImagingDRUNet",
    "init_args": {"channels": [4, 4, 8, 8], "residual": True},
}


def config(path, model, **data):
    content = {"task": "imaging", "seed_everything": 0, "model": model, "data": data}
    content["trainer"] = {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1}
    path.write_text(yaml.safe_dump(content))
    return ["--config", str(path), *QUIET]


@pytest.mark.slow
def test_a_denoiser_becomes_an_equilibrium_that_restores_a_photograph(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    network = {
        "class_path": "lit_implicit_imaging.baselines.ImagingPass",
        "init_args": {"sigma": None, "denoiser": DENOISER},
    }
    explicit = {
        "class_path": "lit_implicit.ExplicitLightningModule",
        "init_args": {"network": network},
    }
    first = config(tmp_path / "denoiser.yaml", explicit, kernel="delta", noise=[0.0, 0.1])
    assert main(["fit", *first, *SMALL, "--run_dir=denoiser"]) == 0
    operator = {
        "class_path": "lit_implicit_imaging.hqs.ImagingHQS",
        "init_args": {"denoiser": DENOISER},
    }
    implicit = {
        "class_path": "lit_implicit.ImplicitLightningModule",
        "init_args": {
            "operator": operator,
            "init_weights": "denoiser/checkpoints/best.ckpt",
            "init_parts": {"operator.denoiser": "network.denoiser"},
            "solver": {"class_path": "lit_implicit.Anderson", "init_args": {"max_iter": 6}},
        },
    }
    second = config(tmp_path / "hqs.yaml", implicit, kernel_size=5)
    assert main(["fit", *second, *SMALL, "--run_dir=hqs"]) == 0

    pixels = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("mine.png")
    kernel = np.zeros((3, 5), dtype=np.float32)
    kernel[1] = 0.2
    np.save("kernel.npy", kernel)
    capsys.readouterr()
    own = ["--data.files=[mine.png]", "--data.kernel=kernel.npy", "--run_dir=mine"]
    best = ["--ckpt_path", "hqs/checkpoints/best.ckpt"]
    assert main(["predict", "--config", "hqs/config.yaml", *best, *own]) == 0
    assert "mine.png" in capsys.readouterr().out
    (restored,) = (tmp_path / "mine").rglob("*_mine.png")
    assert Image.open(restored).size == (60, 45)

    both = ["pass=denoiser", "hqs=hqs", "--output=both", "--shown", "0", "4"]
    assert compare(both) == 2
    assert "`data.kernel` delta, motion" in capsys.readouterr().err
    assert compare([*both, "--any_data"]) == 0
    with open("both/psnr.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert list(rows[0]) == ["photograph", "pass", "hqs"]
    # The first run's data has no blur: its own network does better on it than the other's.
    assert np.mean([float(r["pass"]) for r in rows]) > np.mean([float(r["hqs"]) for r in rows])
    assert Image.open("both/gallery.png").size[0] > 600
