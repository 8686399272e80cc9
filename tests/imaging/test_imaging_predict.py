"""A photograph of one's own, by the command line."""

from pathlib import Path

import numpy as np
from PIL import Image

from lit_implicit.cli import main

CONFIG = Path(__file__).parents[2] / "configs/smoke/imaging.yaml"


def test_a_photograph_is_restored_at_its_size(tmp_path, monkeypatch, capsys):
    """Behind a kernel that blurs nothing, weights that change little leave it as it is."""
    monkeypatch.chdir(tmp_path)
    rows, columns = np.mgrid[:45, :61]
    waves = [np.sin(rows / 5), np.cos(columns / 7), np.sin((rows - columns) / 9)]
    pixels = (110 + 60 * np.stack(waves, axis=-1)).round().astype(np.uint8)
    Image.fromarray(pixels).save("mine.png")
    kernel = np.zeros((3, 5))
    kernel[1, 2] = 1.0
    np.save("kernel.npy", kernel)
    own = ["--data.files=[mine.png]", "--data.kernel=kernel.npy", "--data.noise=0.001"]
    own.append("--model.operator.init_args.stepsize=100")  # the data counts, the denoiser less
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    assert main(["predict", "--config", str(CONFIG), *own, *quiet, "--run_dir=run"]) == 0
    assert "mine.png" in capsys.readouterr().out
    (restored,) = (tmp_path / "run").rglob("*_mine.png")
    found = np.asarray(Image.open(restored)).astype(int)
    assert found.shape == pixels.shape

    def off(other):  # mean difference (gray levels), but for a tint
        difference = found - other
        return np.abs(difference - difference.mean((0, 1))).mean()

    wrong = [np.roll(pixels, 1, 0), np.roll(pixels, 1, 1), pixels[..., ::-1], pixels[::-1]]
    assert off(pixels) < 2
    assert off(pixels) < min(off(other) for other in wrong) / 2
