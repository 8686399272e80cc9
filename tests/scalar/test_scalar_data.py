"""Points: inside the domain, each a function of (seed, split, index)."""

import pytest
import torch

from lit_implicit.cli import main
from lit_implicit.errors import ConfigError
from lit_implicit_scalar.data import ScalarDataModule
from lit_implicit_scalar.points import draw_points
from lit_implicit_scalar.targets import TARGETS

ALL = list(TARGETS)
SPLITS = ("train", "val", "test")


def data(**settings):
    small = {"n_train": 64, "n_val": 16, "n_test": 33, "batch_size": 16, "eval_batch_size": 20}
    module = ScalarDataModule(**{**small, **settings})
    module.setup()
    return module


@pytest.mark.parametrize("points", ["uniform", "grid"])
@pytest.mark.parametrize("name", ALL)
def test_points_lie_in_the_domain_and_splits_share_none(name, points):
    module = data(target=name, points=points, closest=1e-3, dtype="float64")
    target, together = TARGETS[name], []
    for split in SPLITS:
        batch = module.batch(split)
        inside = torch.zeros(len(batch.x), dtype=torch.bool)
        for low, high in target.intervals:
            inside |= (batch.x >= low) & (batch.x <= high)
        assert inside.all()
        assert (target.distance(batch.x) >= 1e-3 * (1 - 1e-9)).all()
        assert batch.target.equal(target.function(batch.x))
        together.append(batch.x)
    x = torch.cat(together)
    assert len(x.unique()) == len(x)


@pytest.mark.parametrize("name", ALL)
def test_points_spread_evenly_over_the_domain(name):
    target = TARGETS[name]
    x = draw_points(target, "train", 20_000, closest=1e-6)
    length = sum(high - low for low, high in target.intervals)
    for low, high in target.intervals:
        share = ((x > low) & (x < high)).double().mean()
        assert share == pytest.approx((high - low) / length, abs=0.02)


def test_grid_of_the_test_includes_the_ends():
    x = draw_points(TARGETS["reciprocal_positive"], "test", 11, spread="grid", closest=1e-6)
    assert (x[0], x[-1]) == (1e-6, 1.0)
    assert torch.allclose(x.diff(), x.diff()[0], rtol=1e-9)
    x = draw_points(TARGETS["reciprocal"], "test", 10, spread="grid", closest=1e-3)
    assert torch.allclose(x, -x.flip(0))
    assert x[[0, 4, 5, 9]].tolist() == [-1.0, -1e-3, 1e-3, 1.0]
    x = draw_points(TARGETS["figure_one"], "test", 51, spread="grid", closest=1e-3)
    assert len(x) == 51
    assert {-2.0, -1e-3, 1e-3, 1 - 1e-3, 1 + 1e-3, 3.0} <= set(x.tolist())


def test_point_is_a_function_of_seed_split_and_index():
    target = TARGETS["log"]
    x = draw_points(target, "val", 50, seed=3)
    assert draw_points(target, "val", 20, seed=3).equal(x[:20])
    for split, seed in (("val", 4), ("test", 3)):
        assert not torch.isin(draw_points(target, split, 50, seed=seed), x).any()


@pytest.mark.parametrize("name", ALL)
def test_float32_points_have_the_value_at_the_rounded_point(name):
    batch = data(target=name, closest=1e-4).batch("test")
    assert batch.x.dtype == batch.target.dtype == torch.float32
    exact = TARGETS[name].function(batch.x.double())
    assert torch.allclose(batch.target.double(), exact, rtol=1e-7, atol=1e-12)


def test_loaders_give_each_point_once():
    module = data()
    sizes = {"train": [16] * 4, "val": [16], "test": [20, 13], "predict": [20, 13]}
    for split, expected in sizes.items():
        batches = list(getattr(module, f"{split}_dataloader")())
        assert [len(batch.x) for batch in batches] == expected
        index = torch.cat([batch.index for batch in batches])
        assert index.sort().values.equal(torch.arange(sum(expected)))
        assert index.equal(index.sort().values) == (split != "train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "exp"}, r"`ScalarDataModule.target` must be one of reciprocal, .* got 'exp'"),
        ({"n_val": 1}, "`ScalarDataModule.n_val` must be at least 2, got 1"),
        ({"n_train": 0}, "`ScalarDataModule.n_train` must be at least 2, got 0"),
        ({"n_test": -5}, "`ScalarDataModule.n_test` must be at least 2, got -5"),
        ({"batch_size": 0}, "`ScalarDataModule.batch_size` must be at least 1, got 0"),
        ({"eval_batch_size": -1}, "`ScalarDataModule.eval_batch_size` must be at least 1, got -1"),
        (
            {"seed": 2**63},
            r"`ScalarDataModule.seed` must be below 2\*\*63, got 9223372036854775808",
        ),
        ({"closest": -1.0}, r"`ScalarDataModule.closest` must lie in \(0, 0.5\), got -1.0"),
        ({"closest": 0.5}, r"`ScalarDataModule.closest` must lie in \(0, 0.5\), got 0.5"),
        ({"closest": float("nan")}, r"`ScalarDataModule.closest` must lie in \(0, 0.5\), got nan"),
        ({"seed": -1}, "`ScalarDataModule.seed` must be at least 0, got -1"),
        ({"points": "all"}, "`ScalarDataModule.points` must be uniform or grid, got 'all'"),
        ({"closest": 0.0}, r"`ScalarDataModule.closest` must lie in \(0, 0.5\), got 0.0"),
        ({"dtype": "float16"}, "`ScalarDataModule.dtype` must be float32 or float64"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        data(**settings)


@pytest.mark.parametrize("name", ["tan", "figure_one", "reciprocal"])
def test_points_that_rounding_puts_onto_a_pole_are_refused(name):
    closest = 1e-40 if name == "reciprocal" else 1e-9  # 1/x overflows; the others' ends are rounded
    settings = {"target": name, "points": "grid", "closest": closest}
    message = f"`data.closest` {closest} is too small for `data.dtype` float32: .* or float64"
    with pytest.raises(ConfigError, match=message):
        data(**settings)
    batch = data(**settings, dtype="float64").batch("test")
    assert batch.target.isfinite().all()


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("n_train=0", "`data.n_train` must be at least 2, got 0"),
        ("batch_size=0", "`data.batch_size` must be at least 1, got 0"),
        ("closest=-1", "`data.closest` must lie in (0, 0.5), got -1.0"),
        ("target=exp", "`data.target` must be"),
        ("points=all", "`data.points` must be"),
        ("dtype=float16", "`data.dtype` must be"),
        ("seed=-1", "`data.seed` must be at least 0, got -1"),
    ],
)
def test_setting_that_makes_no_sense_is_one_line(tmp_path, monkeypatch, capsys, option, part):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task=scalar", "--trainer.accelerator=cpu", f"--data.{option}"]) == 2
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if not line.startswith("Seed set")]
    assert line.startswith("error: ")
    assert part in line
    assert not any(tmp_path.glob("runs/*/*"))
