"""A file of the cache, believed only if it holds what its settings draw."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from lit_implicit_flow.equation import force_of
from lit_implicit_flow.labels import CHUNK, Arrays, FlowSettings
from lit_implicit_flow.measures import norm
from lit_implicit_flow.steady import FlowStatus


def read_chunk(path: Path, settings: FlowSettings, number: int) -> Arrays:
    """Read a chunk, whoever wrote the file; nothing is unpickled.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the system does not let it be read.
        ValueError: If its content is anything but that chunk.
    """
    with path.open("rb") as raw:
        try:
            if not zipfile.is_zipfile(raw):
                raise ValueError("it is no archive of arrays")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                chunk = {name: file[name] for name in file.files}
            _check(chunk, settings, number)
        except OSError:
            raise
        except Exception as err:  # whatever zipfile and numpy say of this content
            raise ValueError(str(err) or type(err).__name__) from err
    return chunk


def _check(chunk: Arrays, settings: FlowSettings, number: int) -> None:
    """Refuse what `make_chunk` would not have made."""
    if sorted(chunk) != ["index", "n_agree", "status", "vorticity"]:
        raise ValueError(f"it holds {sorted(chunk)}")
    index, status, w = chunk["index"], chunk["status"], chunk["vorticity"]
    kept = np.flatnonzero(status == FlowStatus.SOLVED) + number * CHUNK
    side = settings.resolution
    shapes = {status.shape, chunk["n_agree"].shape}
    if shapes != {(CHUNK,)} or not np.array_equal(index, kept):
        raise ValueError("wrong numbers of flows")
    if w.shape != (len(index), side, side) or w.dtype != np.float64 or not np.isfinite(w).all():
        raise ValueError("'vorticity' is not of the form of the settings")
    if len(index):  # flows of other settings, or of another version of numpy; and a last look
        candidates = range(number * CHUNK, (number + 1) * CHUNK)
        drawn = settings.drawn(candidates)[torch.from_numpy(index - candidates.start)]
        made = torch.from_numpy(w)
        made = made if settings.labels == "exact" else force_of(made, settings.nu)
        if not bool((norm(made - drawn) < 1e-6 * norm(drawn)).all()):
            raise ValueError("it holds other flows than the settings draw")
