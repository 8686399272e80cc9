"""Photographs as arrays: what is read of a file, and which files there are."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_implicit.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".npy")
"""Endings of the names of files that may hold a photograph, in small letters."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph in memory.

    Args:
        name: Its file, or what else it is called.
        pixels: Red, green and blue, shape `(height, width, 3)`: bytes, or floats in [0, 1] where
            the file has more than 8 bits.
    """

    name: str
    pixels: NDArray[Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


def crop_setting(split: str) -> str:
    """Return the setting that says how large a split's crops are."""
    return "data.crop" if split == "train" else "data.eval_crop"


def read_photograph(path: Path) -> Photograph:
    """Read a photograph, upright as its camera was held, gray ones as three equal channels.

    Transparency is left out. Arrays (.npy) have the shape `(height, width)` or
    `(height, width, 3)`, and hold bytes or numbers in [0, 1].

    Args:
        path: A file that ends in one of `SUFFIXES`.

    Raises:
        DataError: If it holds no photograph; the message begins with the path.
    """
    pixels = _read_array(path) if path.suffix.lower() == ".npy" else _read_image(path)
    return Photograph(str(path), pixels)


def list_files(folder: Path) -> list[Path]:
    """Return all files in a folder and below that may hold a photograph, sorted by path.

    Hidden ones are left out, as the `._name.jpg` that a Mac writes beside each photograph.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def find_files(given: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and patterns such as `holiday/*.jpg` name, each once.

    Raises:
        DataError: If one of them names none.
    """
    return list({path.resolve(): path for text in given for path in _find(text)}.values())


def _find(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_file():
        return [path]
    found: list[Path] = []
    if path.is_dir():
        found, what = list_files(path), "has no file that ends in"
    else:
        what = "is neither a file nor a folder, nor a pattern that fits files that end in"
        # A pattern may begin at the root, which `Path.glob` cannot.
        start = Path(path.anchor)
        if any(sign in given for sign in "*?["):
            try:
                matches = list(start.glob(str(path.relative_to(path.anchor))))
            except ValueError as err:  # up to Python 3.12, where `**` is a part of a name
                raise DataError(f"{given!r} is no pattern: {err}. Use `*` or `**/`.") from err
            found = sorted(p for p in matches if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{given!r} {what} {', '.join(SUFFIXES)}. Name photographs.")
    return found


def _read_image(path: Path) -> NDArray[Any]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but readable metadata, and of great size
            with Image.open(path) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith(("I", "F")):  # more than 8 bits, one channel
                    return _check_values(path, np.asarray(upright))
                return np.array(upright.convert("RGB"))
    except DataError:
        raise
    except UnidentifiedImageError as err:
        raise DataError(f"{str(path)!r} is no image that Pillow knows.") from err
    except Exception as err:  # Pillow's readers raise what they happen upon
        raise DataError(
            f"{str(path)!r} cannot be read as an image: {type(err).__name__}: {err}."
        ) from err


def _read_array(path: Path) -> NDArray[Any]:
    try:
        # Not by `np.load`, which opens archives, too, and raises what their readers happen upon.
        with path.open("rb") as file:
            pixels = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as err:
        raise DataError(f"{str(path)!r} cannot be read as an array: {err}.") from err
    return _check_values(path, pixels)


def _check_values(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return bytes, or floats in [0, 1], of three channels."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise DataError(
            f"{str(path)!r} must have shape (height, width) or (height, width, 3), got "
            f"{pixels.shape}."
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind in "iu":  # 16 bits, which Pillow gives as 32 at times
        pixels = pixels / np.float32(65535)
    if pixels.dtype.kind != "f":
        raise DataError(f"{str(path)!r} must hold numbers in [0, 1], got {pixels.dtype}.")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # NaN fails as well
        raise DataError(
            f"{str(path)!r} must hold values in [0, 1], got {low:.4g} to {high:.4g}. Divide "
            "them by the value of white, and clip what noise left outside; or store bytes."
        )
    return pixels.astype(np.float32)
