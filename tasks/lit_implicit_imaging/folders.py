"""Photographs of a folder for training, validation and test."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

from lit_implicit.errors import DataError
from lit_implicit_imaging.photographs import (
    SUFFIXES,
    Photograph,
    crop_setting,
    list_files,
    read_photograph,
)

SPLITS = ("train", "val", "test")

_DEEPEST = 5
"""Levels below `root` where splits are looked for: deepinv unpacks BSDS500 to the fourth."""
_SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def find_splits(root: Path) -> Mapping[str, list[Path]]:
    """Return the files of each split, sorted by path.

    Folders train, val and test are the splits, in `root` or, two of them at least, in a folder
    below. Any other folder is split by a hash of the names of its files, without their endings:
    70, 10 and 20 in a hundred, and the console tells how many each. A photograph stays in its split
    when others come or go.

    Args:
        root: The folder.

    Raises:
        DataError: If there is no photograph in it, or several folders below hold splits.
    """
    if not root.is_dir():
        raise DataError(f"`data.root` {str(root)!r} is no folder. Name a folder of photographs.")
    found = _find_folders(root)
    is_hashed = found is None
    if found is None:
        found = {split: [] for split in SPLITS}
        for path in list_files(root):
            found[_split_of(path.stem)].append(path)
    if not any(found.values()):
        raise DataError(
            f"`data.root` {str(root)!r} holds no photograph: no file there or below ends in "
            f"{', '.join(SUFFIXES)}."
        )
    if is_hashed:
        rank_zero_info(
            f"`data.root` {str(root)!r} has no folders train, val and test: its photographs are "
            f"split by a hash of their names, {_counts(found)}."
        )
    return found


def read_split(
    root: Path, files: Mapping[str, list[Path]], split: str, crop: int, most: int | None
) -> list[Photograph]:
    """Read the first photographs of a split that a crop fits into.

    Those that cannot be read and those that are too small are left out, and named on the console.

    Args:
        root: The folder, for messages.
        files: Those of each split, by `find_splits`.
        split: One of `SPLITS`.
        crop: Height and width that a photograph must have at least.
        most: How many to read at most; None means all.

    Raises:
        DataError: If none is left.
    """
    if not files[split]:
        raise DataError(
            f"`data.root` {str(root)!r} has no photograph for {split} ({_counts(files)}). Add "
            "some, or put them into folders train, val and test."
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
            + " ".join(_reasons(unreadable, small, split, crop))
        )
    for reason in _reasons(unreadable, small, split, crop):
        rank_zero_info(f"{split}: {reason}")
    return kept


def _find_folders(root: Path) -> dict[str, list[Path]] | None:
    """Return the files of the folders train, val and test nearest below a root, if there are any.

    Others of these names are none, as BSDS500's `groundTruth`, whose files are no photographs.
    """
    level, least = [root], 1
    for _ in range(_DEEPEST + 1):
        places = {}
        for place in level:
            folders = {split: place / split for split in SPLITS}
            if sum(folder.is_dir() for folder in folders.values()) >= least:
                files = {split: list_files(folder) for split, folder in folders.items()}
                if any(files.values()):
                    places[place] = files
        if len(places) > 1:
            raise DataError(
                f"`data.root` {str(root)!r} holds folders train, val and test in several places: "
                f"{_some([str(place.relative_to(root)) for place in places])}. Name one of them."
            )
        if places:
            return next(iter(places.values()))
        level, least = [below for place in level for below in _folders_in(place)], 2
    return None


def _folders_in(folder: Path) -> Iterator[Path]:
    try:
        yield from (p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != ".")
    except OSError:  # it may not be read: so it holds no photograph for us
        return


def _counts(files: Mapping[str, list[Path]]) -> str:
    return ", ".join(f"{len(files[name])} for {name}" for name in SPLITS)


def _split_of(name: str) -> str:
    drawn, total = zlib.crc32(name.lower().encode()) / 2**32, 0.0
    for split, share in _SHARES.items():
        total += share
        if drawn < total:
            return split
    return SPLITS[-1]


def _reasons(unreadable: list[str], small: list[Photograph], split: str, crop: int) -> list[str]:
    """Return a line for each kind of photograph that is left out."""
    lines = []
    if unreadable:
        lines.append(f"left out {len(unreadable)} unreadable: {_some(unreadable)}.")
    if small:
        names = [f"{p.name!r} ({p.size[1]} x {p.size[0]})" for p in small]
        lines.append(
            f"left out {len(small)} smaller than `{crop_setting(split)}` {crop} "
            f"(width x height): {_some(names)}."
        )
    return lines


def _some(names: list[str]) -> str:
    shown = "; ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown}; and {len(names) - 5} more"
