"""The layer table: what each module may import, read from its source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"errors", "files", "scripts", "task", "registry"},
    {"layout", "tree"},
    {"compilation", "contract", "operator", "solvers"},
    {"adjoints"},
    {
        "equilibrium",
        "objective",
        "path_difference",
        "predictions",
        "probes",
        "regularizers",
        "spectral",
    },
    {"module", "data", "callbacks", "reporting", "loading", "checkpoint_io"},
    {"cli", "testing"},
]
LIBRARIES = [
    set(),
    {"torch", "jaxtyping"},
    # What a solve notes of its samples stands on the CPU, and so do small states, with their steps.
    {"torch", "jaxtyping", "numpy"},
    {"torch", "jaxtyping"},
    {"torch", "jaxtyping", "torchmetrics"},
]
SLOW = {"matplotlib", "pandas", "scipy", "rich", "highspy", "tensorboard"}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports when it runs."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            if node.module == "lit_implicit":
                yield from (f"lit_implicit.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def layer_of(room: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if room in rooms:
            return number
    raise AssertionError(f"`lit_implicit.{room}` stands in no layer: add it to the table.")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "lit_implicit").parts[0].removesuffix(".py")


MODULES = [p for p in sources("lit_implicit") if p != ROOT / "lit_implicit" / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_downward_only(path):
    layer = layer_of(room_of(path))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "lit_implicit" and len(parts) > 1:
            assert layer_of(parts[1]) <= layer, f"layer {layer} must not import {name}"
        assert not parts[0].startswith("lit_implicit_"), f"nothing imports a task, not {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports_no_library_above_its_layer(path):
    layer = layer_of(room_of(path))
    for name in imports(path, top_level_only=True):
        library = name.partition(".")[0]
        assert library not in SLOW, f"{library} is slow to import: import it in a function"
        if layer < len(LIBRARIES) and library not in sys.stdlib_module_names | {"lit_implicit"}:
            assert library in LIBRARIES[layer], f"layer {layer} must not import {library}"


@pytest.mark.parametrize("path", sources("tasks"), ids=lambda p: str(p.relative_to(ROOT)))
def test_task_imports_neither_the_command_line_nor_another_task(path):
    own = path.relative_to(ROOT / "tasks").parts[0]
    for name in imports(path):
        parts = name.split(".")
        if (
            parts[0] == "lit_implicit"
            and len(parts) > 1
            and parts[1] in {r for s in LAYERS for r in s}
        ):
            assert layer_of(parts[1]) < 6, f"{name} is no task's business"
        if parts[0].startswith("lit_implicit_"):
            assert parts[0] == own, f"tasks do not import each other: {name}"
