"""The modules of benchmarks/, which are scripts beside each other and no package."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def part(request):
    """Return a module of a benchmark by the end of its name, the benchmark by `PREFIX`."""
    prefix = getattr(request.module, "PREFIX", "solvers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield lambda name: importlib.import_module(f"{prefix}_{name}" if name else prefix)
