"""The code of docs/extending.md, run as it stands; its package, held equal to the example."""

import re
import sys
import types
from dataclasses import replace

import pytest
import torch
from fenced import ROOT, Document

from lit_implicit.registry import TaskEntry

PAGE = Document("extending.md")
FILES = PAGE.files()
EXAMPLE = ROOT / "examples" / "custom_task"
ENTRY = TaskEntry("kepler", "kepler 0.1.0", "kepler:task")


@pytest.fixture(scope="module")
def page():
    """The names that the blocks of the page define, one after the other, as in one module.

    It stays imported: pickle looks for classes there, and so does the command line, which lists
    all subclasses that it knows of.
    """
    module = types.ModuleType("extending_page")
    sys.modules[module.__name__] = module
    torch.manual_seed(0)
    for block in PAGE.blocks("python"):
        if block not in FILES.values():
            exec(compile(block, PAGE.path.name, "exec"), vars(module))
    return module


def test_links_lead_somewhere():
    assert PAGE.broken_links() == []


def test_every_block_runs(page):
    assert page.report.names("skipped") == page.report.names("failed") == []
    assert page.test_my_operator.pytestmark[0].name == "parametrize"
    for check in page.operator_checks():
        page.test_my_operator(check)


def test_the_solver_of_the_page_narrows_its_memory(page):
    """Samples that stop at very different times give the same alone and together."""
    a = torch.tensor([[0.9, 0.5], [0.0, 0.2], [0.3, 0.1], [0.95, 0.9]], dtype=torch.float64)

    class Diagonal(page.Linear):
        def forward(self, z, c):
            return c * z + 1

    def solve(a):
        with torch.no_grad():
            return page.Equilibrium(Diagonal(), page.HeavyBall(0.4, rtol=1e-9, max_iter=500))(a)

    z, solution = solve(a)
    assert torch.allclose(z, 1 / (1 - a), rtol=1e-6)
    assert int(solution.n_iter.max()) > 4 * int(solution.n_iter.min())
    for i in range(4):
        z_alone, alone = solve(a[i : i + 1])
        assert torch.equal(z_alone[0], z[i])
        assert alone.n_iter == solution.n_iter[i]


def test_package_of_the_page_is_the_example():
    """File by file; the first line of a block is its path."""
    files = [p for p in EXAMPLE.rglob("*") if p.suffix in (".py", ".toml", ".yaml")]
    assert set(FILES) == {str(p.relative_to(EXAMPLE)) for p in files}
    for path, block in FILES.items():
        assert block == f"# {path}\n{(EXAMPLE / path).read_text()}", path


def test_commands_of_the_page_are_understood(monkeypatch, capsys):
    """In the folder of the example; that they do what they say, tests/examples has."""
    from lit_implicit.cli import main

    monkeypatch.chdir(EXAMPLE)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr("lit_implicit.registry.entries", lambda: [ENTRY])
    (block,) = PAGE.blocks("sh")
    install, *commands = block.splitlines()
    assert install == "uv pip install -e ."
    assert len(commands) == 3
    for command in commands:
        name, *args = command.split()
        assert name == "lit-implicit"
        printed = ["--print_config"] if args[0] == "fit" else []
        assert main([*args, *printed]) == 0, capsys.readouterr().err


def test_broken_task_of_the_page_says_what_the_page_says(monkeypatch, tmp_path, capsys):
    from lit_implicit.cli import main

    source = FILES["kepler/__init__.py"].replace("KeplerData", "KeplerDate")
    (tmp_path / "kepler_broken.py").write_text(source)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = replace(ENTRY, value="kepler_broken:task")
    monkeypatch.setattr("lit_implicit.registry.entries", lambda: [broken])
    monkeypatch.setattr("lit_implicit.registry.classes.entries", lambda: [broken])
    assert main(["tasks", "--check"]) == 2
    line = capsys.readouterr().out.splitlines()[1].replace("kepler_broken:task", "kepler:task")
    assert line in PAGE.text


def test_names_on_the_page_exist():
    """What the page calls a check, a method or a class is one."""
    from lit_implicit.testing import operator_checks

    promised = re.findall(r"`(\w+)`", "".join(re.findall(r"\((`\w+`(?:, `\w+`)*)\)", PAGE.text)))
    assert len(promised) >= 8
    assert set(promised) <= {check.name for check in operator_checks()}
