"""The package of examples/custom_task, installed for a test.

Imports of `lit_implicit` stay inside the fixtures: jaxtyping's hook must come first.
"""

import importlib
import logging
import shutil
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_task"


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """A copy of the example: building it leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("example") / "custom_task"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "build", "dist", "runs")
    return Path(shutil.copytree(EXAMPLE, folder, ignore=ignored))


@pytest.fixture(scope="session")
def kepler(example):
    """The task, registered in this process as its pyproject.toml says.

    Its modules stay imported: pickle looks for classes there, and so does the command line, which
    lists all subclasses that it knows of.
    """
    import lightning.pytorch  # noqa: F401

    for name in ("lightning.fabric", "lightning.pytorch"):  # their handlers hold a closed stream
        logging.getLogger(name).setLevel(logging.ERROR)
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    info = example / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(example))
        for module in ("kepler.data", "kepler.objective", "kepler.operator"):
            importlib.import_module(module)
        yield example
