"""A cache whose chunks are whole or absent, whatever happens, and are made once."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lit_implicit.errors import DataError
from lit_implicit_lp import cache as cache_module
from lit_implicit_lp import labels as labels_module
from lit_implicit_lp.cache import CacheWarning, LabelCache
from lit_implicit_lp.labels import CHUNK, LabelSettings, kind, label_chunk
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
    return cache.load(500)


def test_programs_are_the_first_feasible_ones_with_their_labels(undisturbed):
    oracle = LPOracle()
    arrays = undisturbed.arrays
    assert len(undisturbed) == 500
    candidates = np.concatenate([label_chunk(SMALL, i)["index"] for i in range(3)])
    assert np.array_equal(arrays["index"][: len(candidates)], candidates[:500])
    assert set(arrays["n_variables"]) == {5, 6}
    ends = arrays["n_variables"].cumsum()
    for i in range(20):
        answer = oracle.solve(undisturbed.program(i))
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
    assert_equal(cache.load(500), undisturbed)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_damaged_chunk_is_noticed_and_made_again(tmp_path, undisturbed, damage):
    cache = LabelCache(tmp_path, SMALL)
    cache.ensure(500)
    path = cache.folder / "chunk_00001.npz"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes(64) + content[middle + 64 :],
            "empty": b"",
            "foreign": b"<html>not found</html>",
        }[damage]
    )
    with pytest.warns(CacheWarning, match="chunk_00001.npz' is damaged"):
        assert cache.ensure(500) == 1
    assert_equal(cache.load(500), undisturbed)


def test_asking_for_more_keeps_what_is_there(tmp_path, undisturbed):
    cache = LabelCache(tmp_path, SMALL)
    n_first = cache.ensure(100)
    times = {path: path.stat().st_mtime_ns for path in cache.folder.glob("chunk_*")}
    assert len(times) == n_first
    assert cache.ensure(500) > 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert cache.ensure(500) == 0
    assert cache.ensure(3) == 0
    assert_equal(cache.load(500), undisturbed)
    first = np.arange(500) < 100
    assert_equal(cache.load(100), undisturbed.keep(first))


def test_other_settings_have_another_folder():
    changes = [
        {},
        {"seed": 1},
        {"stream": 1},
        {"sizes": ((2, 6, 6),)},
        {"modes": ()},
        {"modes": ("b",)},
        {"perturb_norm": 1e-3},
    ]
    assert len({replace(SMALL, **change).key() for change in changes}) == len(changes)


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
    with pytest.raises(DataError, match=r"Only 0 of 1024 .*\(0.0%, at least 1% .*fewer constr"):
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
