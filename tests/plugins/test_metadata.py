"""What installed metadata may look like; whose task it is, is known all the same."""

from importlib.metadata import entry_points

import pytest

from lit_implicit import registry
from lit_implicit.cli import main
from lit_implicit.errors import BrokenTaskError, DuplicateTaskError

STALE = "Metadata-Version: 2.1\nName: Zebra_pkg\nVersion: 0.9\n"


def row(out, name):
    (line,) = (line for line in out.splitlines() if line.startswith(f"{name} "))
    return line


def test_metadata_found_twice_are_one_task(install):
    """An old egg-info beside an editable install; its name may be spelled in another way."""
    install("zebra", "zebra-pkg")
    install("zebra", "zebra-pkg", metadata=STALE, place="elsewhere")
    (entry,) = (entry for entry in registry.listing() if entry.name == "zebra")
    assert (entry.summary, entry.problem) == ("About zebra.", "")
    assert entry.package == "Zebra_pkg 0.9"  # it comes first on the path, as for imports
    assert registry.get("zebra").summary == "About zebra."


def test_stale_metadata_that_break_a_task_are_named(install):
    first = install("zebra", "zebra-pkg")
    stale = install("zebra", "zebra-pkg", "gone_pkg:task", metadata=STALE, place="elsewhere")
    with pytest.raises(BrokenTaskError) as error:
        registry.get("zebra")
    assert f"Its metadata lie in {stale} and in {first}: remove what is stale" in str(error.value)


def test_one_spec_under_one_name_is_no_duplicate(install):
    """A package that was renamed, and is still installed under its old name."""
    install("zebra", "zebra-pkg")
    install("zebra", "old-pkg", "zebra_pkg:task")
    assert registry.get("zebra").summary == "About zebra."
    assert [entry.name for entry in registry.listing()].count("zebra") == 1


def test_name_given_twice_in_one_package_is_a_duplicate(install):
    install("zebra", "zebra-pkg", entry="zebra = zebra_pkg:task\nzebra = zebra_pkg:other")
    with pytest.raises(DuplicateTaskError, match=r"zebra_pkg:task.*zebra_pkg:other"):
        registry.get("zebra")


def test_duplicates_name_each_other_in_the_list(install, capsys):
    install("zebra", "zebra-pkg")
    install("zebra", "zoo-pkg")
    assert main(["tasks", "zebra"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line, other in zip(lines, ["zebra-pkg 1.2", "zoo-pkg 1.2"], strict=True):
        assert f"is also registered by {other}" in line
        assert "Uninstall one of them" in line
    assert main(["tasks", "--check", "zebra"]) == 2


@pytest.mark.parametrize(
    ("metadata", "package"),
    [
        ("Metadata-Version: 2.1\nName: zebra-pkg\n", "zebra-pkg (no version)"),
        ("Metadata-Version: 2.1\nVersion: 3\n", "unnamed 3"),
        ("", "unnamed (no version)"),
    ],
)
def test_metadata_without_name_or_version_still_name_a_task(install, capsys, metadata, package):
    install("zebra", "zebra-pkg", metadata=metadata)
    # Two without a name are not taken for one.
    install("yak", "yak-pkg", metadata="" if "unnamed" in package else None)
    assert registry.get("zebra").summary == "About zebra."
    assert registry.get("yak").summary == "About yak."
    assert main(["tasks"]) == 0
    assert f" {package}  " in row(capsys.readouterr().out, "zebra")


def test_entry_point_without_a_name_harms_no_other_task(install, capsys):
    install("zebra", "zebra-pkg", entry="= zebra_pkg:task")
    install("yak", "yak-pkg")
    assert registry.get("yak").summary == "About yak."
    assert main(["tasks"]) == 0
    assert " fails: has a name that is not allowed" in row(capsys.readouterr().out, "?")


@pytest.mark.parametrize("text", [b"[lit_implicit.tasks]\nno equals sign\n", b"\xff\xfe[x]\n"])
def test_malformed_metadata_are_named_before_torch_stumbles_over_them(install, capsys, text):
    """Python's own reader fails for all packages, and torch asks it when it is imported."""
    (path,) = install("zebra", "zebra-pkg").glob("*/entry_points.txt")
    path.write_bytes(text)
    install("yak", "yak-pkg")
    with pytest.raises((TypeError, UnicodeDecodeError)):
        entry_points(group="torch.backends")
    assert main(["tasks"]) == 0
    out = capsys.readouterr().out
    assert row(out, "yak").endswith("About yak.")
    assert "fails: `entry_points.txt` of zebra-pkg 1.2 in " in row(out, "?")
    assert main(["tasks", "--check", "yak"]) == 2
    assert main(["fit", "--task", "yak"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: `entry_points.txt` of zebra-pkg 1.2 in ")
    assert line.endswith("Install that package again, or uninstall it.")
