"""A cache whose chunks are whole or absent, whatever happens, and are made once."""

import io
import json
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lit_implicit.errors import DataError
from lit_implicit_lp import cache as cache_module
from lit_implicit_lp import labels as labels_module
from lit_implicit_lp.cache import CacheWarning, LabelCache
from lit_implicit_lp.chunk_file import DamagedChunkError, read_chunk, write_chunk
from lit_implicit_lp.label_arrays import LabelledPrograms, fields, kind
from lit_implicit_lp.labels import CHUNK, LabelSettings, label_chunk
from lit_implicit_lp.oracle import LPOracle, LPStatus

SMALL = LabelSettings(seed=0, stream=0, sizes=((2, 6, 6), (3, 5, 8)), modes=("b", "l"))


def assert_equal(a, b):
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        assert np.array_equal(a.arrays[name], b.arrays[name]), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cache = LabelCache(tmp_path_factory.mktemp("undisturbed"), SMALL)
    assert cache.ensure(500) > 2
    return SimpleNamespace(folder=cache.folder, programs=cache.load(500))


def test_programs_are_the_first_feasible_ones_with_their_labels(undisturbed):
    oracle = LPOracle()
    arrays = undisturbed.programs.arrays
    assert len(undisturbed.programs) == 500
    candidates = np.concatenate([label_chunk(SMALL, i)["index"] for i in range(3)])
    assert np.array_equal(arrays["index"][: len(candidates)], candidates[:500])
    assert set(arrays["n_variables"]) == {5, 6}
    ends = arrays["n_variables"].cumsum()
    for i in range(20):
        answer = oracle.solve(undisturbed.programs.program(i))
        assert answer.status is LPStatus.OPTIMAL
        assert np.array_equal(answer.y, arrays["target"][ends[i] - len(answer.y) : ends[i]])
        assert answer.objective == arrays["objective"][i]


def test_cache_survives_a_kill_in_the_middle_of_writing(tmp_path, undisturbed):
    script = """
import os, signal, sys
from lit_implicit_lp import cache
from lit_implicit_lp.labels import LabelSettings
write, calls = cache.np.savez, []
def die_at_the_third(file, **arrays):
    calls.append(0)
    if len(calls) == 3:
        file.write(b"PK half a chunk")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, **arrays)
cache.np.savez = die_at_the_third
settings = LabelSettings(seed=0, stream=0, sizes=((2, 6, 6), (3, 5, 8)), modes=("b", "l"))
cache.LabelCache(sys.argv[1], settings).ensure(500)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    cache = LabelCache(tmp_path, SMALL)
    n_left = len(list(cache.folder.glob("chunk_*.npz")))
    assert n_left <= 2
    assert len(list(cache.folder.glob("*.tmp"))) >= 1
    n_made = cache.ensure(500)
    assert n_made == len(list(cache.folder.glob("chunk_*.npz"))) - n_left
    assert_equal(cache.load(500), undisturbed.programs)


def archive(arrays, **changes):
    """The bytes of an npz archive with some arrays exchanged; None leaves one out."""
    file = io.BytesIO()
    np.savez(file, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return file.getvalue()


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def with_member(content, name):
    """An archive with one more member of this name."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"x")
    return file.getvalue()


DAMAGES = {
    "cut": lambda c, a, _: c[: len(c) // 2],
    "flipped": lambda c, a, _: c[: len(c) // 2] + bytes(64) + c[len(c) // 2 + 64 :],
    "empty": lambda c, a, _: b"",
    "foreign": lambda c, a, _: b"<html>not found</html>",
    "an array alone": lambda c, a, _: c[c.index(b"\x93NUMPY") :][:1000],
    "an archive of texts": lambda c, a, _: with_member(b"", "index.npy"),
    "no archive of arrays": lambda c, a, _: with_member(c, "notes.txt"),
    "a path": lambda c, a, _: with_member(c, "../../escaped.npy"),
    "an absolute path": lambda c, a, _: with_member(c, "/abs.npy"),
    "pickled": lambda c, a, path: archive(a, c=np.array([Bomb(path)], dtype=object)),
    "single precision": lambda c, a, _: archive(a, target=a["target"].astype(np.float32)),
    "shape": lambda c, a, _: archive(a, target=a["target"][None]),
    "length": lambda c, a, _: archive(a, target=a["target"][:-1]),
    "field left out": lambda c, a, _: archive(a, valid_b=None),
    "counts": lambda c, a, _: archive(a, status_counts=a["status_counts"][:2]),
    "negative sizes": lambda c, a, _: archive(a, n_variables=-a["n_variables"]),
    "other programs": lambda c, a, _: archive(a, c=a["c"] + 1e-12),
    "another chunk": lambda c, a, _: archive(label_chunk(SMALL, 2)),
    "another seed": lambda c, a, _: archive(label_chunk(replace(SMALL, seed=1), 1)),
}


@pytest.fixture(scope="module")
def second_chunk():
    return label_chunk(SMALL, 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_chunk_is_noticed_and_made_again(
    tmp_path, monkeypatch, undisturbed, second_chunk, damage
):
    def labelled(settings, number, check):
        assert (settings, number) == (SMALL, 1)
        return second_chunk  # solved once for all kinds of damage

    monkeypatch.setattr(cache_module, "label_chunk", labelled)
    cache = LabelCache(tmp_path / "root", SMALL)
    shutil.copytree(undisturbed.folder, cache.folder)
    path = cache.folder / "chunk_00001.npz"
    path.write_bytes(DAMAGES[damage](path.read_bytes(), second_chunk, tmp_path / "exploded"))
    with pytest.raises(DataError, match=r"chunk_00001.npz': .*`prepare_data\(\)` makes it again"):
        cache.load(500)
    with pytest.warns(CacheWarning, match=r"chunk_00001.npz' is damaged \(.+\) and is made again"):
        assert cache.ensure(500) == 1
    assert_equal(cache.load(500), undisturbed.programs)
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]  # nothing ran, nothing escaped


def test_any_damage_gives_the_chunk_or_one_error(tmp_path):
    settings, random = replace(SMALL, modes=()), np.random.default_rng(0)
    path, chunk = tmp_path / "chunk.npz", label_chunk(settings, 0)
    write_chunk(path, chunk)
    content = path.read_bytes()
    n_refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(random.integers(1, 4)):  # bytes in headers, numbers and the directory
            first = random.choice([0, len(content) - 1500])
            damaged[first + random.integers(1500)] = random.integers(256)
        path.write_bytes(damaged[: random.choice([len(content), random.integers(len(content))])])
        try:
            read = read_chunk(path, settings, 0)
        except DamagedChunkError:
            n_refused += 1
        else:
            assert all(np.array_equal(read[name], chunk[name]) for name in chunk)
    assert n_refused > 100


def test_chunk_without_any_solution_is_kept_too(tmp_path, monkeypatch):
    settings = LabelSettings(0, 0, sizes=((40, 20, 200),), modes=("A",))
    write_chunk(tmp_path / "chunk.npz", label_chunk(settings, 0))
    read = read_chunk(tmp_path / "chunk.npz", settings, 0)
    assert len(read["index"]) == 0
    assert read["status_counts"][LPStatus.INFEASIBLE] == CHUNK
    assert {name: array.dtype for name, array in read.items()} == fields(("A",))
    both = LabelledPrograms.join([read, label_chunk(replace(settings, sizes=((2, 4, 5),)), 0)])
    assert both.arrays["index"].dtype == np.int64


def test_asking_for_more_keeps_what_is_there(tmp_path, undisturbed):
    cache = LabelCache(tmp_path, SMALL)
    n_first = cache.ensure(100)
    times = {path: path.stat().st_mtime_ns for path in cache.folder.glob("chunk_*")}
    assert len(times) == n_first
    assert cache.ensure(500) > 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert cache.ensure(500) == 0
    assert cache.ensure(3) == 0
    assert_equal(cache.load(500), undisturbed.programs)
    first = np.arange(500) < 100
    assert_equal(cache.load(100), undisturbed.programs.keep(first))


def test_other_settings_have_another_folder():
    changes = [
        {},
        {"seed": 1},
        {"stream": 1},
        {"sizes": ((2, 6, 6),)},
        {"modes": ()},
        {"modes": ("b",)},
        {"perturb_norm": 1e-3},
        {"family": "row_sparse"},
    ]
    assert len({replace(SMALL, **change).key() for change in changes}) == len(changes)


def test_key_of_the_papers_programs_never_changes():
    # That of the default training programs: another would leave everyone's cache behind.
    assert LabelSettings(0, 0, ((10, 50, 100),)).key() == "3051b7329404aa34"


def test_other_family_is_cached_and_read_back(tmp_path):
    settings = LabelSettings(0, 0, ((4, 12, 12),), modes=("b",), family="row_sparse")
    cache = LabelCache(tmp_path, settings)
    cache.ensure(300)
    programs = cache.load(300)
    # Every candidate has a solution, so the first 300 are the first 300 candidates.
    assert np.array_equal(programs.arrays["index"], np.arange(300))
    for i in (0, 299):
        assert programs.program(i).equals(settings.program(i))
        assert np.array_equal(np.bincount(programs.program(i).rows), [3, 3, 3, 3])
    # A chunk of the other family under this one's name is noticed.
    paper = replace(settings, family="paper")
    write_chunk(cache.folder / "chunk_00000.npz", label_chunk(paper, 0))
    with pytest.warns(CacheWarning, match=r"chunk_00000.npz' is damaged"):
        assert cache.ensure(300) == 1


def test_solver_tolerance_is_part_of_the_key(monkeypatch):
    key = SMALL.key()
    monkeypatch.setattr(labels_module, "TOLERANCE", 1e-9)
    assert SMALL.key() != key


def test_equal_labels_have_one_folder():
    # Without perturbations their norm changes nothing.
    plain = replace(SMALL, modes=())
    assert plain.key() == replace(plain, perturb_norm=1.0).key()
    # Each mode has draws of its own: neither order nor repetition changes a label.
    turned = replace(SMALL, modes=("l", "b", "l"))
    assert turned.key() == SMALL.key()
    chunk, other = label_chunk(SMALL, 0), label_chunk(turned, 0)
    assert chunk.keys() == other.keys()
    assert all(np.array_equal(chunk[name], other[name]) for name in chunk)


def test_settings_are_written_for_people(tmp_path):
    cache = LabelCache(tmp_path, SMALL)
    cache.ensure(1)
    settings = json.loads((cache.folder / "settings.json").read_text())
    assert settings["sizes"] == [[2, 6, 6], [3, 5, 8]]
    assert settings["seed"] == 0


def test_hardly_feasible_sizes_are_refused(tmp_path):
    settings = LabelSettings(0, 0, sizes=((40, 20, 200),))
    with pytest.raises(
        DataError, match=r"Only 0 of 1024 .*\(0.0%, at least 1% .*fewer constr.*row_sparse"
    ):
        LabelCache(tmp_path, settings).ensure(5)


def test_load_before_ensure_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"holds 0 of 5 programs\. Call `prepare_data"):
        LabelCache(tmp_path, SMALL).load(5)


def test_unwritable_folder_names_the_option(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Set `data\.root`"):
        LabelCache(tmp_path / "file", SMALL).ensure(5)


def test_degenerate_programs_can_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(LPOracle, "is_degenerate", lambda self, lp, answer: answer.y[0] > 0)
    cache = LabelCache(tmp_path, SMALL)
    cache.ensure(300, drop_degenerate=True)
    kept = cache.load(300, drop_degenerate=True)
    everything = cache.load(300)
    assert len(kept) == len(everything) == 300
    assert not kept.arrays["degenerate"].any()
    assert 30 < everything.arrays["degenerate"].sum() < 270
    assert kept.arrays["index"][-1] > everything.arrays["index"][-1]


def test_perturbed_programs_without_a_solution_are_marked(tmp_path):
    # So large a step in a bound crosses the other bound, or leaves nothing feasible, now and then.
    settings = LabelSettings(0, 0, sizes=((2, 4, 6),), modes=("l",), perturb_norm=10.0)
    cache = LabelCache(tmp_path, settings)
    cache.ensure(100)
    arrays = cache.load(100).arrays
    invalid = ~arrays["valid_l"]
    assert 0 < invalid.sum() < 100
    rows = np.repeat(invalid, arrays["n_variables"])
    assert np.array_equal(arrays["target_l"][rows], arrays["target"][rows])
    assert not np.any(np.isnan(arrays["target_l"]))


def test_chunk_accounts_for_all_candidates():
    chunk = label_chunk(SMALL, 0)
    assert chunk["status_counts"].sum() == CHUNK
    assert chunk["status_counts"][LPStatus.OPTIMAL] == len(chunk["index"])
    lengths = {of: chunk[f"n_{of}"].sum() for of in ("variables", "constraints", "nonzeros")}
    lengths["programs"] = len(chunk["index"])
    for name, array in chunk.items():
        if name != "status_counts":
            assert len(array) == lengths[kind(name)], name


def test_progress_bar_shows_only_while_programs_are_made(tmp_path, capsys):
    cache = LabelCache(tmp_path, SMALL)
    cache.ensure(100, progress="solving")
    assert "solving" in capsys.readouterr().err
    cache.ensure(100, progress="solving")
    assert capsys.readouterr().err == ""


def test_making_data_imports_no_torch():
    script = "import sys, lit_implicit_lp.cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert cache_module.MIN_SHARE == 0.01
