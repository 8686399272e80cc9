"""A plug-in that is broken is one line with its package and version, and harms nothing else."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from fake_plugins import spec_source

from lit_implicit import registry
from lit_implicit.cli import main
from lit_implicit.errors import BrokenTaskError

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
HEAD = "from lit_implicit.task import TaskSpec\n"


def spec_with(**fields):
    """The source of a spec with some fields replaced by source text."""
    given = {"summary": "'x'", "data": "'a.B'", "objective": "'a.B'", "operators": "{'n': 'a.B'}"}
    text = ", ".join(f"{key}={value}" for key, value in {**given, **fields}.items())
    return f"{HEAD}task = TaskSpec({text})"


SOURCES = {
    "missing": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "syntax": ("def f(:", "SyntaxError: invalid syntax (syntax_pkg.py, line 1)"),
    "raises": ("raise RuntimeError('one\\n  two.')", "RuntimeError: one two. Repair"),
    "talkative": ("raise RuntimeError(1000 * 'long ')", "long l [...]. Repair"),
    "mute": ("class E(Exception):\n __str__ = None\nraise E", "loaded: E. Repair"),
    "exits": ("import sys; sys.exit('bye')", "ends the program (SystemExit: bye)"),
    "exits_well": ("raise SystemExit", "ends the program (SystemExit)"),
    "base": ("class Odd(BaseException): ...\nraise Odd('x')", "ends the program (Odd: x)"),
    "no_task": ("", "has no attribute 'task'"),
    "wrong": ("task = {'data': 'x'}", "must be a `lit_implicit.TaskSpec`, got dict"),
    "is_none": ("task = None", "must be a `lit_implicit.TaskSpec`, got NoneType"),
    "is_class": (f"{HEAD}task = TaskSpec", "got the class TaskSpec itself: write `TaskSpec(...)`"),
    "is_function": ("def task(): ...", "must be a `lit_implicit.TaskSpec`, got function"),
    "lacks": (f"{HEAD}task = TaskSpec(summary='x')", "required keyword-only arguments: 'data'"),
    "unknown_field": (spec_with(baseline="{}"), "unexpected keyword argument 'baseline'"),
    "summary": (spec_with(summary="3"), "`TaskSpec.summary` must be text, got 3"),
    "hint": (spec_with(install="['pip']"), "`TaskSpec.install` must be text, got ['pip']"),
    "a_list": (spec_with(operators="['a.B']"), "`TaskSpec.operators` must map short names"),
    "no_operator": (spec_with(operators="{}"), "`TaskSpec.operators` is empty"),
    "number": (spec_with(operators="{'n': 3}"), "`TaskSpec.operators.n` must be a class path"),
    "key": (spec_with(operators="{3: 'a.B'}"), "has the short name 3"),
    "odd_key": (spec_with(operators="{'a.b': 'a.B'}"), "has the short name 'a.b'"),
    "nets": (spec_with(baselines="None"), "`TaskSpec.baselines` must map short names"),
    "no_dot": (spec_with(data="'Data'"), "`TaskSpec.data` must be a class path like"),
    "spaces": (spec_with(data="'a. B'"), "`TaskSpec.data` must be a class path like"),
    "newline": (spec_with(data="'a.B\\n'"), "`TaskSpec.data` must be a class path like"),
    "colon": (spec_with(objective="'a:B'"), "`TaskSpec.objective` must be a class path like"),
    "no_text": (spec_with(data="TaskSpec"), "'lit_implicit.task.TaskSpec', got the class itself"),
}
VALUES = ["a b c", "zebra_pkg", "", ":task", "zebra_pkg:", "zebra-pkg:task", "zebra_pkg:task()"]


ALL = """
import contextlib, io, json, sys
from lit_implicit.cli import main

def ask(*args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(args)
    return code, out.getvalue(), err.getvalue()

tasks, runs = ask("tasks"), {name: ask("fit", "--task", name) for name in NAMES}
assert not {"torch", "lightning"} & set(sys.modules)
print(json.dumps([tasks, runs]))
"""


@pytest.fixture
def all_broken(install):
    for name, (source, _) in SOURCES.items():
        install(name, package(name), source=source)


def package(name):
    return f"{name.replace('_', '-')}-pkg"


def lines_of(out):
    return {line.split()[0]: line for line in out.splitlines()}


def test_broken_plugins_are_a_line_each(all_broken, process):
    """In the list, and where one is asked for; torch is not imported for either."""
    done = process(ALL.replace("NAMES", repr([*SOURCES])))
    assert done.returncode == 0, done.stderr
    (code, out, err), runs = json.loads(done.stdout)
    assert (code, err) == (0, "")
    lines = lines_of(out)
    own = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["lit_implicit.tasks"]
    assert lines.keys() == {"task", *own, *SOURCES}, "no line but the tasks' own"
    assert not [name for name in own if "  fails: " in lines[name]]
    for name, (_, sentence) in SOURCES.items():
        owner = f"{package(name)} 1.2"
        assert owner in lines[name]
        problem = lines[name].partition("  fails: ")[2]
        assert sentence in problem
        assert len(problem) < 500
        code, out, err = runs[name]
        assert (code, out) == (2, "")
        assert err == f"error: Task {name!r} ({name}_pkg:task, from {owner}) {problem}\n"


def test_check_fails_for_the_broken_and_no_other(all_broken, capsys):
    assert main(["tasks", "--check"]) == 2
    lines = lines_of(capsys.readouterr().out)
    assert "  fine: ScalarDataModule; ScalarObjective; operators mlp, " in lines["scalar"]
    assert all("  fails: " in lines[name] for name in SOURCES)
    assert main(["tasks", "--check", "scalar"]) == 0


def test_no_broken_plugin_keeps_another_task_from_its_run(all_broken, capsys):
    assert main(["fit", "--task", "scalar", "--print_config"]) == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["data"]["class_path"].startswith("lit_implicit_scalar.")


@pytest.mark.parametrize("value", VALUES)
def test_malformed_entry_point_says_how_it_is_written(install, capsys, value):
    install("zebra", "zebra-pkg", value)
    with pytest.raises(BrokenTaskError, match=r"zebra-pkg 1\.2.* write it as 'module:attribute'"):
        registry.get("zebra")
    assert main(["tasks", "--check", "zebra"]) == 2
    assert f"got {value!r}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "value", ["zebra_pkg : task", "zebra_pkg:task [extra]", "zebra_pkg:A.task"]
)
def test_other_spellings_of_an_entry_point_are_read(install, value):
    source = spec_source("zebra", "zebra_pkg") + "\nclass A:\n    task = task\n"
    install("zebra", "zebra-pkg", value, source)
    assert registry.get("zebra").summary == "About zebra."


def test_ctrl_c_passes(install, capsys):
    install("zebra", "zebra-pkg", source="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.get("zebra")
    assert main(["tasks"]) == 130


def test_what_a_plugin_prints_is_no_output_of_the_command(install, capsys):
    noise = "import warnings\nprint('noise')\nwarnings.warn('odd')\n"
    install("zebra", "zebra-pkg", source=noise + spec_source("zebra", "zebra_pkg"))
    with pytest.warns(UserWarning, match="odd"):
        assert main(["tasks", "zebra"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["task", "zebra"]
    assert "noise" in err


def test_what_a_class_prints_is_no_output_of_the_command(install, capsys):
    data = "from affine_task import AffineData as Base\nprint('noise')\nclass ZebraData(Base): ..."
    install("other", "zebra-data", source=data)
    source = spec_source("zebra", "zebra_pkg", data="zebra_data.ZebraData")
    install("zebra", "zebra-pkg", source=source)
    assert main(["fit", "--task", "zebra", "--print_config"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["data"]["class_path"] == "zebra_data.ZebraData"
    assert "noise" in err


LISTING = """
import sys
from lit_implicit.cli import main
code = main(["tasks"])
assert not {"torch", "lightning"} & set(sys.modules)
sys.exit(code)
"""


def test_spec_that_imports_torch_is_stopped(install, process):
    """Also where it would do without: a listing must not wait for torch."""
    careful = "try:\n    import torch.nn\nexcept ImportError:\n    pass\n"
    install("zebra", "zebra-pkg", source=careful + spec_source("zebra", "zebra_pkg"))
    install("yak", "yak-pkg", source="import lightning.pytorch")
    done = process(LISTING)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stdout)
    assert "'zebra_pkg' imports torch" in lines["zebra"]
    assert "'yak_pkg' imports lightning" in lines["yak"]
    assert "import `lit_implicit.TaskSpec` alone" in lines["yak"]
    assert "fails" not in lines["scalar"]
