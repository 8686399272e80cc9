"""A chunk of labelled linear programs as a file: written whole, believed only after a check."""

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lit_implicit.files import replace_whole
from lit_implicit_lp.label_arrays import Arrays, LabelledPrograms, fields, kind
from lit_implicit_lp.labels import CHUNK, LabelSettings
from lit_implicit_lp.oracle import LPStatus


class DamagedChunkError(Exception):
    """A file does not hold the chunk that it should."""


def write_chunk(path: Path, chunk: Arrays) -> None:
    """Write a chunk; after a kill at any moment the file is whole or absent.

    Raises:
        OSError: If it cannot be written.
    """
    with replace_whole(path) as file:
        np.savez(file, allow_pickle=False, **chunk)


def read_chunk(path: Path, settings: LabelSettings, number: int) -> Arrays:
    """Read a chunk, whoever wrote the file.

    Nothing is unpickled, and no name in the archive becomes the name of a file.

    Args:
        path: The file.
        settings: What it should hold.
        number: Which chunk of it.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the system does not let it be read.
        DamagedChunkError: If its content is anything but that chunk.
    """
    # Opened here: where the content is no archive, numpy would leave it open.
    with path.open("rb") as raw:
        try:
            chunk = _arrays(raw)
            _check(chunk, settings, number)
        except OSError:
            raise
        except Exception as err:
            # Whatever it is that zipfile and numpy say of this content (ten kinds of error are
            # known): the chunk can be made again.
            raise DamagedChunkError(str(err) or type(err).__name__) from err
    return chunk


def _arrays(raw: BinaryIO) -> Arrays:
    if not zipfile.is_zipfile(raw):
        raise ValueError("it is no archive of arrays")
    raw.seek(0)
    with np.load(raw, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _check(chunk: Arrays, settings: LabelSettings, number: int) -> None:
    """Refuse what `label_chunk` would not have made."""
    expected = fields(settings.modes)
    if other := sorted(chunk.keys() ^ expected.keys()):
        raise ValueError(f"{other[0]!r} is missing or too many")
    for name, dtype in expected.items():
        array = chunk[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"{name!r} is not a vector of {dtype.__name__}")
    index, counts = chunk["index"], chunk["status_counts"]
    if len(counts) != len(LPStatus) or counts.sum() != CHUNK or (counts < 0).any():
        raise ValueError("wrong number of candidates")
    if len(index) != counts[LPStatus.OPTIMAL] or (index[1:] <= index[:-1]).any():
        raise ValueError("wrong number of programs")
    lengths = {of: int(chunk[f"n_{of}"].sum()) for of in ("variables", "constraints", "nonzeros")}
    lengths["programs"] = len(index)
    for name, array in chunk.items():
        if name != "status_counts" and len(array) != lengths[kind(name)]:
            raise ValueError(f"{name!r} has the wrong length")
    if len(index):
        # Programs of other settings, another chunk's, or those of another version of numpy.
        programs = LabelledPrograms.join([chunk])
        for i in (0, len(index) - 1):
            drawn = settings.program(int(index[i]))
            if index[i] // CHUNK != number or not programs.program(i).equals(drawn):
                raise ValueError("it holds other programs than the settings draw")
