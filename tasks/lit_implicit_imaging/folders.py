"""Photographs of a folder for training, validation and test."""

import zlib
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from lit_implicit.errors import DataError
from lit_implicit_imaging.photographs import (
    SUFFIXES,
    Photograph,
    list_files,
    read_photograph,
)

SPLITS = ("train", "val", "test")

# Where BSDS500 keeps its images: as unpacked, and the parts that people keep of it.
_PLACES = ("", "images", "data/images", "BSDS500/data/images", "BSR/BSDS500/data/images",
           "BSDS500/images")  # fmt: skip
_SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def find_splits(root: Path) -> Mapping[str, list[Path]]:
    """Return the files of each split, sorted by path.

    Folders train, val and test are the splits, in `root` or where BSDS500 has them below. Any
    other folder is split by a hash of the names of its files, without their endings: 70, 10 and
    20 in a hundred. A photograph stays in its split when others come or go.

    Args:
        root: The folder.

    Raises:
        DataError: If there is no photograph in it.
    """
    if not root.is_dir():
        raise DataError(f"`data.root` {str(root)!r} is no folder. Name a folder of photographs.")
    for place in _PLACES:
        folders = {split: root / place / split for split in SPLITS}
        if any(folder.is_dir() for folder in folders.values()):
            found = {split: list_files(folder) for split, folder in folders.items()}
            break
    else:
        found = {split: [] for split in SPLITS}
        for path in list_files(root):
            found[_split_of(path.stem)].append(path)
    if not any(found.values()):
        raise DataError(
            f"`data.root` {str(root)!r} holds no photograph: no file there or below ends in "
            f"{', '.join(SUFFIXES)}."
        )
    return found


def read_split(root: Path, split: str, crop: int, most: int | None) -> list[Photograph]:
    """Read the first photographs of a split that a crop fits into.

    Those that cannot be read and those that are too small are left out, and named on the console.

    Args:
        root: The folder.
        split: One of `SPLITS`.
        crop: Height and width that a photograph must have at least.
        most: How many to read at most; None means all.

    Raises:
        DataError: If none is left.
    """
    files = find_splits(root)
    if not files[split]:
        counts = ", ".join(f"{len(files[name])} for {name}" for name in SPLITS)
        raise DataError(
            f"`data.root` {str(root)!r} has no photograph for {split} ({counts}). Add some, or put "
            "them into folders train, val and test."
        )
    kept: list[Photograph] = []
    unreadable: list[str] = []
    small: list[Photograph] = []
    for path in files[split]:
        if most is not None and len(kept) == most:
            break
        try:
            photograph = read_photograph(path)
        except DataError as err:
            unreadable.append(str(err).rstrip("."))
            continue
        (kept if min(photograph.size) >= crop else small).append(photograph)
    if not kept:
        raise DataError(
            f"No photograph for {split} in `data.root` {str(root)!r} can be used. "
            + " ".join(_reasons(unreadable, small, crop))
        )
    for reason in _reasons(unreadable, small, crop):
        rank_zero_info(f"{split}: {reason}")
    return kept


def _split_of(name: str) -> str:
    drawn, total = zlib.crc32(name.lower().encode()) / 2**32, 0.0
    for split, share in _SHARES.items():
        total += share
        if drawn < total:
            return split
    return SPLITS[-1]


def _reasons(unreadable: list[str], small: list[Photograph], crop: int) -> list[str]:
    """Return a line for each kind of photograph that is left out."""
    lines = []
    if unreadable:
        lines.append(f"left out {len(unreadable)} unreadable: {_some(unreadable)}.")
    if small:
        names = [f"{p.name!r} ({p.size[1]} x {p.size[0]})" for p in small]
        lines.append(
            f"left out {len(small)} smaller than `data.crop` {crop} (width x height): "
            f"{_some(names)}."
        )
    return lines


def _some(names: list[str]) -> str:
    shown = "; ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown}; and {len(names) - 5} more"
