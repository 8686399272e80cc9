"""The modules of benchmarks/solvers.py, which are scripts beside each other and no package."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    """Return a module of the benchmark of solvers by the end of its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"solvers_{name}" if name else "solvers")
