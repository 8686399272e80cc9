"""Where the Netlib programs lie, which are not part of the repository."""

import os
from pathlib import Path

import pytest

# Optimal values by HiGHS 1.15 (simplex).
OPTIMAL = {
    "afiro": -464.75314285714,
    "adlittle": 225494.96316238,
    "e226": -11.638929066370,
    "etamacro": -755.71523330053,
    "israel": -896644.82186305,
    "standata": 1257.6995,
}


def netlib(*names):
    """Paths of files of the folder `shared/data/netlib` beside the checkout, or a skipped test.

    LIT_IMPLICIT_NETLIB names another folder.
    """
    given = os.environ.get("LIT_IMPLICIT_NETLIB")
    beside = [parent / "shared/data/netlib" for parent in Path(__file__).resolve().parents]
    folders = [Path(given)] if given else beside
    for folder in folders:
        paths = [folder / f"{name}.mps" for name in names]
        if all(path.is_file() for path in paths):
            return paths
    return pytest.skip("the Netlib files are not there; LIT_IMPLICIT_NETLIB names their folder")
