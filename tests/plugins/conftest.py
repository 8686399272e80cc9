"""Fake distributions: a dist-info folder and a module on `sys.path`.

Imports of `lit_implicit` stay inside the fixtures: jaxtyping's hook must come first.
"""

import subprocess
import sys

import pytest
from fake_plugins import spec_source


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one task on the path; its module holds `source`."""

    def install(name, dist, value=None, source=None, *, metadata=None, entry=None, place=None):
        module = dist.replace("-", "_")
        folder = tmp_path / (place or dist)
        info = folder / f"{module}-1.2.dist-info"
        info.mkdir(parents=True)
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n"
        (info / "METADATA").write_text(metadata)
        value = f"{module}:task" if value is None else value
        entry = f"{name} = {value}" if entry is None else entry
        (info / "entry_points.txt").write_text(f"[lit_implicit.tasks]\n{entry}\n")
        source = spec_source(name, module) if source is None else source
        (folder / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return folder

    return install


@pytest.fixture
def process(tmp_path):
    """Run code in a process of its own, with the installed plug-ins; return what it left.

    There nothing is imported yet, and no hook checks types before our own code does.
    """

    def process(code):
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PYTHONPATH": ":".join(part for part in sys.path if part)},
        )  # fmt: skip

    return process
