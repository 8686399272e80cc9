"""Photographs that need no download: scikit-image's, cut into parts for each split."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

from lit_implicit.errors import DataError
from lit_implicit_imaging.photographs import Photograph, crop_setting, read_photograph

FILES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "ihc.png", "moon.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
"""Files of scikit-image's wheel: public domain, CC0, or no restriction known.

Left out are its photographs that are mostly dark, blurred themselves, or seen from elsewhere.
"""

# Quarters of the longer side: training never sees a pixel of the others.
_QUARTERS = {"train": (0, 2), "val": (2, 3), "test": (3, 4)}


def sample_photographs(split: str, crop: int) -> list[Photograph]:
    """Return a split of scikit-image's photographs, those that a crop fits into.

    Each is cut across its longer side: the first half is for training, the third quarter for
    validation, the last for test. These strips are then cut into parts that are nearly square: 19
    for training, 39 for each of the others, all but five of these of 128 pixels a side or more.

    Args:
        split: `train`, `val` or `test`.
        crop: Height and width that a part must have at least.

    Raises:
        DataError: If no part is so large; if scikit-image, or one of the photographs, is not there.
    """
    cut = [list(_parts(_read(file), Path(file).stem, split)) for file in FILES]
    # The first part of each, then the second ones: a few parts are of many photographs.
    parts = [part for turn in zip_longest(*cut) for part in turn if part is not None]
    found = [part for part in parts if min(part.size) >= crop]
    if not found:
        largest = max(min(part.size) for part in parts)
        raise DataError(
            f"scikit-image's photographs for {split} (`data.root: null`) have at most {largest} "
            f"pixels a side, less than `{crop_setting(split)}` {crop}. Give a smaller crop, or "
            "name a folder of larger photographs."
        )
    return found


def _read(file: str) -> Photograph:
    # By its files, not by `skimage.data`: its functions may download what is missing.
    spec = find_spec("skimage")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise DataError(
            "`data.root` is null, which means scikit-image's photographs, but scikit-image is not "
            "installed: pip install 'lit-implicit[imaging]', or name a folder of photographs."
        )
    return read_photograph(Path(next(iter(folders))) / "data" / file)


def _parts(photograph: Photograph, name: str, split: str) -> Iterator[Photograph]:
    pixels = photograph.pixels  # none is higher than wide
    first, last = _QUARTERS[split]
    quarter = pixels.shape[1] // 4
    strip = pixels[:, first * quarter : last * quarter]
    n_parts = max(1, strip.shape[0] // strip.shape[1])
    height = strip.shape[0] // n_parts
    for i in range(n_parts):
        part = strip[i * height : (i + 1) * height]
        yield Photograph(f"{name}_{split}_{i}", part.copy())
