"""The code of docs/extending.md, run as it stands; its package, installed and checked."""

import importlib
import re
import sys
import tomllib
import types

import pytest
import torch
from fenced import Document

PAGE = Document("extending.md")
FILES = PAGE.files()


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


@pytest.fixture(scope="module")
def kepler(tmp_path_factory):
    """The page's package, written out and installed as its pyproject.toml says.

    Its modules stay imported, as `page` does.
    """
    tmp_path = tmp_path_factory.mktemp("kepler")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    for path, block in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(block)
    info = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for name in FILES:
            if name.startswith("kepler/"):
                module = name.removesuffix(".py").removesuffix("/__init__")
                importlib.import_module(module.replace("/", "."))
        yield


def test_the_package_passes_its_own_test(kepler, capsys):
    scope = {}
    exec(FILES["tests/test_kepler.py"], scope)
    scope["test_kepler"]()
    out = capsys.readouterr().out
    assert "0 failed" in out
    assert "passed   entry_point" in out


def test_the_data_of_the_package_solve_the_equation(kepler):
    from kepler.data import KeplerData

    data = KeplerData(64, 8, 8)
    data.setup()
    x, e = next(iter(data.test_dataloader()))
    assert torch.allclose(e[:, 0], x[:, 0] + x[:, 1] * e[:, 0].sin(), atol=1e-6)


def test_the_command_of_the_page_trains_it(kepler, tmp_path, monkeypatch, capsys):
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    listing, fit = (line.split()[1:] for block in PAGE.blocks("sh") for line in block.splitlines())
    assert main(listing) == 0
    assert re.search(r"^kepler +kepler 0.1.0 +kepler:task", capsys.readouterr().out, re.MULTILINE)
    small = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=2"]
    quick = ["--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"]
    quick += ["--audit=null", "--regularity=null"]  # the package's own test runs them
    assert main([*fit, *small, *quick]) == 0, capsys.readouterr().err


def test_names_on_the_page_exist():
    """What the page calls a check, a method or a class is one."""
    from lit_implicit.testing import operator_checks

    promised = re.findall(r"`(\w+)`", "".join(re.findall(r"\((`\w+`(?:, `\w+`)*)\)", PAGE.text)))
    assert len(promised) >= 8
    assert set(promised) <= {check.name for check in operator_checks()}
