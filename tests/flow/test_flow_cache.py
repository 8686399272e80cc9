"""Flows on disk: made once, whole or absent, and never other ones than the settings draw."""

import json

import numpy as np
import pytest
import torch
from flow.flow_problem import off

from lit_implicit.errors import DataError
from lit_implicit_flow import cache as cache_module
from lit_implicit_flow.cache import FlowCache, FlowCacheWarning
from lit_implicit_flow.equation import relative_residual
from lit_implicit_flow.family import FlowFamily
from lit_implicit_flow.labels import CHUNK, FlowSettings, make_chunk
from lit_implicit_flow.steady import FlowStatus

SLOW = FlowFamily("random", "flat", 1, 2)


def settings(labels="exact", **changes):
    values = {"seed": 0, "stream": 0, "resolution": 12, "nu": 0.2, "family": SLOW,
              "labels": labels, "rms": 0.05 if labels == "solver" else 0.33}  # fmt: skip
    return FlowSettings(**{**values, **changes})


@pytest.mark.parametrize("labels", ["exact", "solver"])
def test_flows_are_kept_and_more_are_added(labels, tmp_path):
    cache = FlowCache(tmp_path, settings(labels))
    assert cache.ensure(3) == 1
    index, force, w = cache.load(3, torch.float64)
    assert index.tolist() == [0, 1, 2]
    assert force.shape == (3, 2, 12, 12)
    assert float(relative_residual(w, force, 0.2).max()) < 1e-8
    assert cache.ensure(3) == 0
    assert cache.ensure(CHUNK + 1) == 1
    again = cache.load(CHUNK + 1, torch.float64)
    assert all(torch.equal(a[:3], b) for a, b in zip(again, (index, force, w), strict=True))
    other = FlowCache(tmp_path, settings(labels, seed=1))
    other.ensure(3)
    assert off(other.load(3, torch.float64)[2], w) > 0.5
    assert other.folder != cache.folder
    described = json.loads((cache.folder / "settings.json").read_text())
    assert described["nu"] == 0.2
    assert described["family"]["max_wavenumber"] == 2


def test_solved_flows_have_the_forces_that_were_drawn(tmp_path):
    cache = FlowCache(tmp_path, settings("solver"))
    cache.ensure(4)
    _, force, _ = cache.load(4, torch.float64)
    assert torch.equal(force, settings("solver").drawn(range(4)))
    size = force.square().sum(1).mean((-2, -1)).sqrt()
    assert 0.01 < float(size.min()) <= float(size.max()) < 0.2


def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path, monkeypatch):
    made = []

    def make(own, number):
        if number == 2 and len(made) < 3:
            made.append("killed")
            raise KeyboardInterrupt
        made.append(number)
        return make_chunk(own, number)

    monkeypatch.setattr(cache_module, "make_chunk", make)
    cache = FlowCache(tmp_path, settings())
    with pytest.raises(KeyboardInterrupt):
        cache.ensure(4 * CHUNK)
    assert made == [0, 1, "killed"]
    (cache.folder / "chunk_00002.npz.abc.tmp").write_bytes(b"half")
    assert cache.ensure(4 * CHUNK) == 2
    assert made == [0, 1, "killed", 2, 3]
    reference = FlowCache(tmp_path / "other", settings())
    reference.ensure(4 * CHUNK)
    pairs = zip(*(c.load(4 * CHUNK, torch.float64) for c in (cache, reference)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def cut(path, chunk):
    path.write_bytes(path.read_bytes()[:200])


def other_flows(path, chunk):
    np.savez(path, **{**chunk, "vorticity": 1.01 * chunk["vorticity"]})


def one_wrong_label(path, chunk):
    chunk["vorticity"][3] *= 1 + 1e-5
    np.savez(path, **chunk)


def missing(path, chunk):
    del chunk["status"]
    np.savez(path, **chunk)


def wrong_numbers(path, chunk):
    np.savez(path, **{**chunk, "index": chunk["index"] + 1})


def not_finite(path, chunk):
    chunk["vorticity"][0, 0, 0] = np.nan
    np.savez(path, **chunk)


def pickled(path, chunk):
    np.savez(path, **{**chunk, "vorticity": np.array([{}], dtype=object)})


@pytest.mark.parametrize("labels", ["exact", "solver"])
@pytest.mark.parametrize(
    "damage", [cut, other_flows, one_wrong_label, missing, wrong_numbers, not_finite, pickled]
)
def test_damaged_files_are_made_again(damage, labels, tmp_path):
    cache = FlowCache(tmp_path, settings(labels))
    cache.ensure(2)
    before = cache.load(2, torch.float64)
    path = cache.folder / "chunk_00000.npz"
    with np.load(path) as file:
        chunk = {name: file[name] for name in file.files}
    damage(path, chunk)
    with pytest.raises(DataError, match=r"Cannot read .*chunk_00000.npz'.*makes it again"):
        cache.load(2, torch.float64)
    with pytest.warns(FlowCacheWarning, match=r"chunk_00000.npz' is damaged \(.+\) and is made"):
        assert cache.ensure(2) == 1
    assert all(torch.equal(a, b) for a, b in zip(cache.load(2, torch.float64), before, strict=True))


def test_what_was_not_made_is_said(tmp_path):
    cache = FlowCache(tmp_path, settings())
    with pytest.raises(DataError, match=r"holds 0 of 5 flows. Call `prepare_data\(\)` first"):
        cache.load(5, torch.float32)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot keep flows in .*file.*Set `data.root`"):
        FlowCache(tmp_path / "file", settings()).ensure(1)


def test_forces_without_a_sure_flow_are_named_and_left_out(tmp_path, told, monkeypatch):
    def make(own, number):
        chunk = make_chunk(own, number)
        if number == 0:
            status, keep = chunk["status"], np.ones(CHUNK, bool)
            status[1], status[4] = FlowStatus.NOT_CONVERGED, FlowStatus.NOT_UNIQUE
            keep[[1, 4]] = False
            for name in ("index", "vorticity"):
                chunk[name] = chunk[name][keep]
            chunk["n_agree"][5] = 0
        return chunk

    monkeypatch.setattr(cache_module, "make_chunk", make)
    cache = FlowCache(tmp_path, settings("solver"))
    cache.ensure(CHUNK - 2)
    assert [line.partition(" forces")[0] for line in told[:2]] == [f"1 of {CHUNK}"] * 2
    assert "NOT_CONVERGED: 1." in told[0]
    assert "NOT_UNIQUE: 4." in told[1]
    assert "found from one start alone" in told[2]
    index, force, w = cache.load(CHUNK - 2, torch.float64)
    assert {1, 4} & set(index.tolist()) == set()
    # Forces of those behind the gaps are still their own.
    assert float(relative_residual(w, force, 0.2).max()) < 1e-8


def test_a_viscosity_at_which_the_solver_fails_ends_in_one_line(tmp_path, monkeypatch):
    def none_solved(own, number):
        status = np.full(CHUNK, FlowStatus.NOT_CONVERGED)
        return {"index": np.zeros(0, int), "vorticity": np.zeros((0, 12, 12)), "status": status,
                "n_agree": np.zeros(CHUNK, int)}  # fmt: skip

    monkeypatch.setattr(cache_module, "make_chunk", none_solved)
    cache = FlowCache(tmp_path, settings("solver", nu=1e-7))
    with pytest.raises(DataError, match=rf"for 0 of {2 * CHUNK} forces at `data.nu` 1e-07") as err:
        cache.ensure(5)
    assert "\n" not in str(err.value)


def test_progress_is_shown_only_where_flows_are_made(tmp_path, capsys):
    cache = FlowCache(tmp_path, settings())
    cache.ensure(5, progress="making flows")
    assert "making flows" in capsys.readouterr().err
    cache.ensure(5, progress="making flows")
    assert capsys.readouterr().err == ""
