"""Batches of flows: what they hold, and that they are functions of their numbers alone."""

import json
from itertools import pairwise
from unittest.mock import create_autospec

import pytest
import torch
from flow.flow_problem import off
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerState

from lit_implicit_flow.data import FlowDataModule
from lit_implicit_flow.equation import relative_residual
from lit_implicit_flow.objective import FlowObjective
from lit_implicit_flow.samples import shifted

SMALL = {"resolution": 12, "max_wavenumber": 2, "peak_wavenumber": 1, "n_train": 7, "n_val": 2,
         "n_test": 4, "nu": 0.2, "batch_size": 3, "eval_batch_size": 3,
         "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("flows"))


def data(root, **options):
    module = FlowDataModule(root, **{**SMALL, **options})
    module.prepare_data()
    module.setup(None)
    return module


def samples(loader):
    """Each sample of an epoch by its number: force and target."""
    found = {}
    for batch in loader:
        for i, number in enumerate(batch.index.tolist()):
            found[number] = torch.cat([batch.x.force[i], batch.target[i]])
    return found


def train(module, epoch):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return samples(loader)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("family", ["random", "kolmogorov", "mixed"])
@pytest.mark.parametrize("labels", ["exact", "solver"])
def test_batches_are_pairs_in_their_units(root, labels, family):
    module = data(root, labels=labels, family=family, dtype="float64")
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        for batch in loader:
            x, scales = batch.x, module.scales
            assert x.force.dtype == batch.target.dtype == torch.float64
            assert torch.equal(x.viscosity, torch.full_like(x.viscosity, 0.2))
            assert (x.force_scale == scales.force).all()
            assert (x.vorticity_scale == scales.vorticity).all()
            w, f = x.physical_vorticity(batch.target), x.physical_force()
            tolerance = 1e-10 if labels == "exact" else 1e-8
            assert float(relative_residual(w, f, x.viscosity).max()) < tolerance
            assert 0.1 < float(x.force.std()) < 4
            assert 0.1 < float(batch.target.std()) < 4


def test_units_depend_on_the_law_and_not_on_the_sample(root):
    first = data(root).scales
    assert data(root, seed=3, n_train=1).scales == first
    assert data(root, resolution=16).scales == first
    assert first.vorticity == 0.33
    assert data(root, nu=0.4).scales != first
    given = data(root, force_scale=2.0, vorticity_scale=3.0).scales
    assert (given.force, given.vorticity) == (2.0, 3.0)
    many = data(root, n_test=1000, eval_batch_size=1000, seed=9)
    batch = next(iter(many.test_dataloader()))
    assert float(batch.x.force.std()) == pytest.approx(1.0, abs=0.1)
    assert float(batch.target.std()) == pytest.approx(1.0, abs=0.1)


def test_splits_are_other_flows_and_resolutions_the_same_ones(root):
    module = data(root, shifts=False)
    parts = [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]
    first = [samples(loader)[0] for loader in parts]
    assert all(off(a[None], b[None]) > 0.1 for a, b in pairwise(first))
    fine = samples(data(root, shifts=False, resolution=24).test_dataloader())[0]
    assert off(fine[None, :, ::2, ::2], first[2][None]) < 1e-5


def test_training_samples_are_shifted_and_remain_pairs(root):
    module = data(root, dtype="float64")
    still = samples(data(root, dtype="float64", shifts=False).train_dataloader())
    places = set()
    for epoch in range(3):
        for number, found in train(module, epoch).items():
            rolls = [
                (i, j) for i in range(12) for j in range(12)
                if torch.equal(torch.roll(still[number], (i, j), (1, 2)), found)
            ]  # fmt: skip
            assert len(rolls) == 1
            places.add(rolls[0])
    assert len(places) > 15
    for batch in module.train_dataloader():
        w, f = batch.x.physical_vorticity(batch.target), batch.x.physical_force()
        assert float(relative_residual(w, f, 0.2).max()) < 1e-10


def test_shifts_are_rolls():
    field = torch.randn(3, 2, 5, 5)
    shifts = torch.tensor([[0, 0], [1, 3], [4, 2]])
    wanted = [torch.roll(f, tuple(s), (1, 2)) for f, s in zip(field, shifts.tolist(), strict=True)]
    assert torch.equal(shifted(field, shifts), torch.stack(wanted))


def test_samples_do_not_depend_on_batches_workers_and_ranks(root):
    whole = train(data(root), 4)
    assert len(whole) == 7
    assert same(train(data(root), 4), whole)
    assert not any(torch.equal(train(data(root), 5)[i], whole[i]) for i in whole)
    for options in ({"batch_size": 7}, {"num_workers": 1}):
        assert same(train(data(root, **options), 4), whole)
    shares = {}
    for rank in (0, 1):
        module = data(root)
        module.trainer = create_autospec(Trainer, instance=True, world_size=2, global_rank=rank)
        shares |= train(module, 4)
    assert same(shares, whole)


def test_an_epoch_goes_on_where_it_was_left(root):
    loader = data(root).train_dataloader()
    loader.sampler.set_epoch(3)
    next(iter(loader))
    again = data(root).train_dataloader()
    again.load_state_dict(loader.state_dict())
    again.sampler.set_epoch(3)
    rest, whole = samples(again), train(data(root), 3)
    assert len(rest) == 4
    assert all(torch.equal(rest[i], whole[i]) for i in rest)


def test_samples_that_repeat_have_keys_and_shifted_ones_have_none(root):
    keys = FlowObjective().keys
    assert all(keys(batch) is None for batch in data(root).train_dataloader())
    still = data(root, shifts=False)
    found = torch.cat([keys(batch) for batch in still.train_dataloader()])
    assert sorted(found.tolist()) == list(range(7))
    first = next(iter(still.val_dataloader()))
    assert keys(first.select(torch.tensor([False, True]))).tolist() == [1]


def test_flows_are_kept_if_the_work_is_stopped(root, tmp_path, told, monkeypatch):
    from lit_implicit_flow import cache

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "make_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        FlowDataModule(str(tmp_path), **SMALL).prepare_data()
    assert any("the next run goes on there" in line for line in told)


@pytest.mark.parametrize(
    ("command", "labels", "given", "made"),
    [
        ("fit", "exact", None, {"train": 2, "val": 1, "test": 1}),
        ("validate", "exact", None, {"val": 1}),
        ("test", "solver", 1.0, {"test": 1}),
        ("test", "solver", None, {"train": 1, "test": 1}),  # one file, for the unit
    ],
)
def test_commands_make_only_the_flows_that_they_use(tmp_path, command, labels, given, made):
    module = FlowDataModule(
        str(tmp_path), **{**SMALL, "n_train": 17}, labels=labels, vorticity_scale=given
    )
    module.trainer = create_autospec(Trainer, instance=True)
    module.trainer.state = TrainerState(fn=TrainerFn(command))
    module.prepare_data()
    found = {}
    for file in tmp_path.glob("*/settings.json"):
        split = ("train", "val", "test")[json.loads(file.read_text())["stream"]]
        found[split] = len(list(file.parent.glob("chunk_*.npz")))
    assert found == made
    module.setup(command)
    assert module.scales.force > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 0}, "`FlowDataModule.n_train` must be at least 1, got 0"),
        ({"resolution": 8}, "`FlowDataModule.resolution` 8 is too low for `max_wavenumber` 2: "),
        ({"resolution": 20, "max_wavenumber": 5}, "at least 21 points, or longer waves"),
        ({"peak_wavenumber": 0}, "peak_wavenumber` must be at least 1, got 0"),
        ({"max_wavenumber": 1, "peak_wavenumber": 2}, "max_wavenumber` must be at least 2, got 1"),
        ({"nu": 0.0}, "nu` must be positive, got 0.0"),
        ({"nu": float("nan")}, "nu` must be positive, got nan"),
        ({"vorticity_rms": -1.0}, "vorticity_rms` must be positive, got -1.0"),
        ({"force_rms": 0.0}, "force_rms` must be positive, got 0.0"),
        ({"force_scale": 0.0}, "force_scale` must be positive, got 0.0"),
        ({"vorticity_scale": float("inf")}, "vorticity_scale` must be positive, got inf"),
        ({"labels": "guess"}, "labels` must be exact or solver, got 'guess'"),
        ({"family": "shear"}, "family` must be random or kolmogorov or mixed, got 'shear'"),
        ({"spectrum": "pink"}, "spectrum` must be peaked or flat, got 'pink'"),
        ({"frame": -1}, "frame` must be at least 0, got -1"),
        ({"stride": 0}, "stride` must be at least 1, got 0"),
        ({"root": ""}, "root` is empty"),
        ({"folder": ""}, "folder` is empty"),
        ({"seed": -1}, "seed` must be at least 0"),
        ({"dtype": "float16"}, "dtype` must be float32 or float64"),
        ({"files": ["a.npy", ""]}, "must hold paths, got an empty one"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        FlowDataModule(**{**SMALL, **options})
    assert "\n" not in str(caught.value)
