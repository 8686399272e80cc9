"""Small photographs, made on the spot, and where those lie that are not part of the repository."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def pixels(number, height=40, width=56):
    """Something with edges, a gradient and noise, another one for each number, as bytes."""
    rng = np.random.default_rng(number)
    ramp = np.linspace(0, 120, width)[None, :, None] * rng.random(3)
    steps = 100 * ((np.arange(height) // (3 + number % 5)) % 2)[:, None, None]
    image = ramp + steps + rng.integers(0, 30, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def write_bsds(root, n_train=5, n_val=2, n_test=3, place="images", size=(40, 56)):
    """A folder as BSDS500's, of PNG files, which keep each pixel."""
    number = 0
    for split, n in (("train", n_train), ("val", n_val), ("test", n_test)):
        for i in range(n):
            write(root / place / split / f"{i:03d}.png", pixels(number, *size))
            number += 1
    return root


def public_data(name):
    """A folder in `shared/data` beside the checkout, or a skipped test.

    LIT_IMPLICIT_DATA names another folder in place of `shared/data`.
    """
    given = os.environ.get("LIT_IMPLICIT_DATA")
    beside = [parent / "shared/data" for parent in Path(__file__).resolve().parents]
    for folder in [Path(given)] if given else beside:
        if (folder / name).exists():
            return folder / name
    return pytest.skip(f"{name} is not there; LIT_IMPLICIT_DATA names the folder that holds it")
