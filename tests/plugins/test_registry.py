"""The registry, over fake distributions: a dist-info folder and a module on `sys.path`."""

import sys

import pytest

from lit_implicit import registry
from lit_implicit.errors import (
    BrokenTaskError,
    DuplicateTaskError,
    MissingExtraError,
    TaskNotFoundError,
)
from lit_implicit.task import TaskSpec


def test_names_lists_tasks_without_importing_them(install):
    install("zebra", "zebra-pkg", source="raise RuntimeError('imported')")
    assert "zebra" in registry.names()
    assert registry.names() == sorted(registry.names())
    assert "zebra_pkg" not in sys.modules


def test_get_loads_only_the_named_task(install):
    install("zebra", "zebra-pkg")
    install("yak", "yak-pkg", source="raise RuntimeError('imported')")
    spec = registry.get("zebra")
    assert isinstance(spec, TaskSpec)
    assert spec.summary == "About zebra."
    assert "yak_pkg" not in sys.modules


def test_unknown_task_suggests_close_match(install):
    install("zebra", "zebra-pkg")
    with pytest.raises(TaskNotFoundError) as error:
        registry.get("zebar")
    message = str(error.value)
    assert "Did you mean 'zebra'?" in message
    assert "lp" in message  # the known ones
    assert "`uv pip install -e .` (or `pip install -e .`)" in message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("", "AttributeError"),
    ],
)
def test_broken_task_names_its_package(install, source, reason):
    install("zebra", "zebra-pkg", source=source)
    with pytest.raises(BrokenTaskError) as error:
        registry.get("zebra")
    for part in ("'zebra'", "zebra_pkg:task", "zebra-pkg 1.2", reason):
        assert part in str(error.value)
    assert error.value.__cause__ is not None
    assert registry.get("lp").operators  # others go on


def test_spec_of_wrong_type_names_the_right_one(install):
    install("zebra", "zebra-pkg", source="task = {'data': 'x'}")
    with pytest.raises(BrokenTaskError, match=r"must be a `lit_implicit.TaskSpec`, got dict"):
        registry.get("zebra")


def test_name_of_other_form_is_refused(install):
    install("Zebra-2", "zebra-pkg")
    with pytest.raises(BrokenTaskError, match="small letters"):
        registry.get("Zebra-2")


def test_duplicate_name_is_reported_with_both_packages(install):
    install("zebra", "zebra-pkg")
    install("zebra", "zoo-pkg")
    assert registry.names().count("zebra") == 1
    with pytest.raises(DuplicateTaskError) as error:
        registry.get("zebra")
    assert "zebra-pkg 1.2" in str(error.value)
    assert "zoo-pkg 1.2" in str(error.value)


def test_listing_tells_the_problem_of_a_broken_task(install):
    install("yak", "yak-pkg", source="import no_such_library")
    install("zebra", "zebra-pkg")
    entries = {entry.name: entry for entry in registry.listing()}
    assert entries["zebra"].package == "zebra-pkg 1.2"
    assert entries["zebra"].value == "zebra_pkg:task"
    assert (entries["zebra"].summary, entries["zebra"].problem) == ("About zebra.", "")
    assert "ModuleNotFoundError: No module named 'no_such_library'" in entries["yak"].problem


def test_load_classes_returns_them_by_field(install):
    install("zebra", "zebra-pkg")
    classes = registry.load_classes("zebra", registry.get("zebra"))
    assert {field: found.__name__ for field, found in classes.items()} == {
        "data": "AffineData",
        "objective": "AffineObjective",
        "operators.first": "AffineOperator",
    }


def spec_of(path):
    operators = {"first": path}
    return TaskSpec(
        summary="", data=path, objective=path, operators=operators, install="pip install it"
    )


def test_missing_library_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import no_such_library.deep")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError) as error:
        registry.load_classes("zebra", spec_of("needy.Data"))
    assert "'no_such_library'" in str(error.value)
    assert "pip install it" in str(error.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import broken.sub", "broken.sub"),  # its own package: no library is missing
        ("raise OSError('boom')", "OSError: boom"),
        ("", "no attribute 'Data'"),
        ("Date = 3", "Did you mean 'Date'?"),
        ("import sys; sys.exit(3)", "ends the program (SystemExit: 3)"),
        ("Data = 3", "must be a class, got int"),
    ],
)
def test_class_that_cannot_be_imported_is_broken(tmp_path, monkeypatch, source, reason):
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(BrokenTaskError) as error:
        registry.load_classes("zebra", spec_of("broken.Data"))
    assert reason in str(error.value)
    assert "'broken.Data'" in str(error.value)
