"""The order of training: a function of (seed, epoch), from any batch on."""

from unittest.mock import create_autospec

import pytest
import torch
from affine_task import AffineObjective, AffineOperator
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Dataset, TensorDataset

from lit_implicit import ImplicitLightningModule
from lit_implicit.data import EpochDataLoader, check_data_arguments

N, BATCH = 11, 3


def loader(**options):
    return EpochDataLoader(TensorDataset(torch.arange(N)), BATCH, seed=7, **options)


def batches(data, epoch):
    data.sampler.set_epoch(epoch)
    return [batch[0].tolist() for batch in data]


def samples(data, epoch):
    return [sample for batch in batches(data, epoch) for sample in batch]


def test_order_is_a_function_of_seed_and_epoch_alone():
    data = loader()
    first = batches(data, 0)
    assert sorted(samples(data, 0)) == list(range(N))
    torch.manual_seed(123)
    assert batches(data, 0) == first
    assert batches(data, 1) != first
    other = EpochDataLoader(TensorDataset(torch.arange(N)), BATCH, seed=8)
    assert batches(other, 0) != first


class Asked(Dataset):
    """Hands out what it was asked for."""

    def __len__(self):
        return N

    def __getitem__(self, item):
        return torch.tensor(item)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_dataset_may_ask_for_the_epoch(n_workers):
    options = {"num_workers": n_workers, "persistent_workers": n_workers > 0}
    data = EpochDataLoader(Asked(), BATCH, seed=7, with_epoch=True, **options)
    for epoch in (5, 6):  # of workers that live on, too
        data.sampler.set_epoch(epoch)
        asked = [tuple(item) for batch in data for item in batch.tolist()]
        assert asked == [(epoch, i) for i in samples(loader(), epoch)]


def of_two_ranks(rank):
    return create_autospec(Trainer, instance=True, world_size=2, global_rank=rank)


def test_ranks_share_an_epoch():
    shares = [samples(loader(trainer=of_two_ranks(rank)), 4) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 6  # torch's sampler repeats one of eleven
    assert set(shares[0] + shares[1]) == set(range(N))


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("n_done", [1, 3, 4])
def test_an_epoch_goes_on_where_it_was_left(n_done, n_workers):
    whole = batches(loader(), 5)
    data = loader(num_workers=n_workers)
    data.sampler.set_epoch(5)
    iterator = iter(data)
    for _ in range(n_done):
        next(iterator)
    state = data.state_dict()
    assert state == {"epoch": 5, "n_batches": n_done}, "what workers fetch ahead does not count"
    again = loader(num_workers=n_workers)
    again.load_state_dict(state)
    assert batches(again, 5) == whole[n_done:]
    assert again.state_dict()["n_batches"] == len(whole)
    assert len(again) == len(whole)
    assert batches(again, 6) == batches(loader(), 6)  # and later epochs are whole


def test_another_epoch_is_not_shortened():
    data = loader()
    data.load_state_dict({"epoch": 5, "n_batches": 2})
    assert batches(data, 6) == batches(loader(), 6)


def test_an_arrangement_may_come_bit_by_bit_and_must_lose_nothing():
    whole = samples(loader(), 4)
    assert samples(loader(arrange=lambda epoch, numbers: reversed(numbers)), 4) == whole[::-1]
    for wrong in (lambda epoch, numbers: numbers[1:], lambda epoch, numbers: [*numbers, 0]):
        with pytest.raises(ValueError, match=r"must return the 11 numbers .* returned 1[02] in"):
            samples(loader(arrange=wrong), 4)


class Data(LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
        return EpochDataLoader(TensorDataset(x, 2 * x), BATCH, seed=7, trainer=self.trainer)


class Recorder(ImplicitLightningModule):
    """Notes the first number of each batch."""

    def __init__(self):
        super().__init__(AffineOperator(), AffineObjective())
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0][0, 0].item())
        return super().training_step(batch, batch_idx)

    validation_step = None  # else Lightning warns that there is nothing to validate


def trained(tmp_path, n_epochs=3, ckpt_path=None, **options):
    module = Recorder()
    trainer = Trainer(
        accelerator="cpu", max_epochs=n_epochs, limit_val_batches=0, log_every_n_steps=1,
        logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
        **{"enable_checkpointing": False, **options},
    )  # fmt: skip
    trainer.fit(module, Data(), ckpt_path=ckpt_path)
    return module


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")
def test_lightning_resumes_in_mid_epoch(tmp_path):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    whole = trained(tmp_path, callbacks=[keep], enable_checkpointing=True)
    assert len(whole.seen) == 12
    for step in (4, 5, 7):  # the end of the first epoch, and in the second
        resumed = trained(tmp_path, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert resumed.seen == whole.seen[step:], step
        assert torch.equal(resumed.operator.weight, whole.operator.weight)


def test_lightning_can_take_another_order(tmp_path):
    with pytest.warns(UserWarning, match="turning off the train dataloader shuffling"):
        module = trained(tmp_path, n_epochs=2, overfit_batches=1)
    assert len(set(module.seen)) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_points": 1}, "`Points.n_points` must be at least 2, got 1"),
        ({"batch_size": 0}, "`Points.batch_size` must be at least 1, got 0"),
        ({"seed": -1}, "`Points.seed` must be at least 0, got -1"),
        ({"seed": 2**63}, r"`Points.seed` must be below 2\*\*63, got 9223372036854775808"),
        ({"kind": "gird"}, "`Points.kind` must be uniform or grid, got 'gird'"),
        ({"dtype": "float16"}, "`Points.dtype` must be float32 or float64, got 'float16'"),
        ({}, None),
    ],
)
def test_arguments_of_a_data_module_are_refused_in_its_name(given, message):
    class Points(LightningDataModule):
        """It has no `num_workers`, which is not asked for then."""

        def __init__(self, n_points=2, kind="grid", seed=0, batch_size=1, dtype="float32"):
            super().__init__()
            self.seed, self.batch_size, self.dtype = seed, batch_size, dtype
            kinds = {"kind": (kind, ("uniform", "grid"))}
            check_data_arguments(self, {"n_points": (n_points, 2)}, kinds)

    if message is None:
        Points(**given)
        return
    with pytest.raises(ValueError, match=message):
        Points(**given)
