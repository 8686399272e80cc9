"""Samples of photographs: what they hold, and that they are functions of their numbers alone."""

import pickle
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from photographs import pixels, write_bsds

from lit_implicit import ImplicitLightningModule, Picard
from lit_implicit.callbacks import WarmStart
from lit_implicit.errors import ConfigError
from lit_implicit_imaging.blur import blur
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.objective import ImagingObjective

CROP = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(write_bsds(tmp_path_factory.mktemp("photographs")))


def data(root, **options):
    module = ImagingDataModule(
        root, **{"crop": CROP, "kernel_size": 5, "batch_size": 2, "eval_batch_size": 2, **options}
    )
    module.setup(None)
    return module


def samples(loader):
    """Each sample of an epoch by its number: target, observation, kernel, noise."""
    found = {}
    for batch in loader:
        parts = zip(
            batch.index.tolist(), batch.target, batch.x.observation, batch.x.kernel, batch.x.noise,
            strict=True,
        )  # fmt: skip
        for number, *tensors in parts:
            found[number] = torch.cat([tensor.flatten() for tensor in tensors])
    return found


def train(module, epoch):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return samples(loader)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("options", [{}, {"kernel_per_image": True, "noise": (0.01, 0.1)}])
def test_an_observation_is_what_deepinv_sees_and_noise(root, options):
    from deepinv.physics import BlurFFT

    module = data(root, dtype="float64", **options)
    n = 0
    for loader in (module.train_dataloader(), module.test_dataloader()):
        for batch in loader:
            for i, target in enumerate(batch.target):
                physics = BlurFFT((3, CROP, CROP), filter=batch.x.kernel[i : i + 1])
                noise = (batch.x.observation[i] - physics.A(target[None])[0]) / batch.x.noise[i]
                # What is left is noise that float32 holds: so rounded, nothing is lost.
                assert (noise - noise.float()).abs().max() < 1e-5
                assert abs(noise.std() - 1) < 5 / (2 * noise.numel()) ** 0.5
                assert noise.mean().abs() < 5 / noise.numel() ** 0.5
                n += 1
    assert n == 8


def test_without_noise_the_observation_is_the_blurred_target(root):
    batch = next(iter(data(root, noise=0.0).test_dataloader()))
    assert torch.equal(batch.x.noise, torch.zeros(2))
    blurred = blur(batch.target, batch.x.kernel)
    assert (batch.x.observation - blurred).abs().max() < 1e-6  # rounding of float32


def test_delta_blurs_nothing(root):
    batch = next(iter(data(root, kernel="delta", noise=0.0).test_dataloader()))
    assert (batch.x.observation - batch.target).abs().max() < 1e-6


def test_targets_are_pixels_of_their_file(root):
    module = data(root, dtype="float64", crops_per_image=2)
    for batch in [*module.train_dataloader(), *module.test_dataloader()]:
        for file, target in zip(batch.files, batch.target, strict=True):
            whole = open_image(file)
            crop = (target * 255).round().byte().permute(1, 2, 0).numpy()
            windows = np.lib.stride_tricks.sliding_window_view(whole, (CROP, CROP), axis=(0, 1))
            windows = windows.transpose(0, 1, 3, 4, 2)  # channels last
            turned = [np.rot90(side, k) for side in (crop, crop[::-1]) for k in range(4)]
            found = [bool((windows == side).all(axis=(2, 3, 4)).any()) for side in turned]
            assert any(found), file
            if Path(file).parent.name == "test":
                assert found[0], "evaluation flips nothing"


def open_image(file):
    from PIL import Image

    return np.asarray(Image.open(file))


def test_samples_do_not_depend_on_batches_workers_and_ranks(root):
    reference = data(root)
    for crops in ("random", "fixed"):
        reference = data(root, crops=crops, crops_per_image=3)
        whole = train(reference, 4)
        assert len(whole) == 15
        for options in ({"batch_size": 7}, {"num_workers": 2}):
            assert same(train(data(root, crops=crops, crops_per_image=3, **options), 4), whole)
        shares = {}
        for rank in (0, 1):
            module = data(root, crops=crops, crops_per_image=3)
            module.trainer = create_autospec(Trainer, instance=True, world_size=2, global_rank=rank)
            shares |= train(module, 4)
        assert same(shares, whole)
    for options in ({"eval_batch_size": 3}, {"num_workers": 1}):
        other = data(root, **options)
        assert same(samples(other.test_dataloader()), samples(reference.test_dataloader()))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_random_crops_change_with_the_epoch_in_workers_that_live_on(root, n_workers):
    loader = data(root, num_workers=n_workers).train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(samples(loader))
    assert same(epochs[0], epochs[2])
    assert not any(torch.equal(epochs[0][i], epochs[1][i]) for i in epochs[0])


def test_fixed_crops_are_the_same_in_all_epochs(root):
    module = data(root, crops="fixed")
    assert same(train(module, 0), train(module, 9))


def test_samples_that_repeat_have_keys_and_others_have_none(root):
    """A warm start must not take the state of another crop."""
    keys = ImagingObjective().keys
    fixed = data(root, crops="fixed", crops_per_image=3)
    found = torch.cat([keys(batch) for batch in fixed.train_dataloader()])
    assert sorted(found.tolist()) == list(range(15))
    targets = {}
    for batch in fixed.train_dataloader():
        targets |= dict(zip(keys(batch).tolist(), batch.target, strict=True))
    assert not any(torch.equal(targets[i], targets[j]) for i in range(15) for j in range(i))
    assert all(keys(batch) is None for batch in data(root).train_dataloader())
    first = next(iter(data(root).val_dataloader()))
    assert keys(first.select(torch.tensor([False, True]))).tolist() == [1]


def test_warm_starts_of_random_crops_are_refused(root, tmp_path):
    model = ImplicitLightningModule(
        ImagingHQS(ImagingDRUNet((4, 4, 4, 4))), ImagingObjective(), Picard(max_iter=1)
    )
    trainer = Trainer(
        default_root_dir=tmp_path, max_epochs=1, accelerator="cpu", callbacks=[WarmStart()],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"`ImagingObjective.keys` returns None"):
        trainer.fit(model, data(root))


def test_evaluation_is_the_same_in_all_runs_and_another_for_another_seed(root):
    first = samples(data(root).val_dataloader())
    assert same(samples(data(root, crops="fixed", n_train=1).val_dataloader()), first)
    other = samples(data(root, seed=1).val_dataloader())
    assert not any(torch.equal(first[i], other[i]) for i in first)


def test_an_epoch_goes_on_where_it_was_left(root):
    loader = data(root).train_dataloader()
    loader.sampler.set_epoch(3)
    iterator = iter(loader)
    next(iterator)
    again = data(root).train_dataloader()
    again.load_state_dict(loader.state_dict())
    again.sampler.set_epoch(3)
    rest, whole = samples(again), train(data(root), 3)
    assert len(rest) == 3
    assert all(torch.equal(rest[i], whole[i]) for i in rest)


def test_noise_levels_are_uniform_and_each_sample_has_its_own(root):
    module = data(root, noise=(0.1, 0.3), crops_per_image=100, batch_size=500)
    levels = next(iter(module.train_dataloader())).x.noise
    assert len(levels.unique()) == 500
    assert 0.1 <= levels.min() < 0.11
    assert 0.29 < levels.max() <= 0.3
    assert abs(levels.mean() - 0.2) < 4 * 0.2 / 12**0.5 / 500**0.5


def test_crops_come_from_everywhere(root):
    module = data(root, crops_per_image=2000, n_train=1, noise=0.0, kernel="delta")
    loader = module.train_dataloader()
    loader.batch_sampler.batch_size = 2000
    whole = torch.from_numpy(pixels(0)) / 255
    corners = {float(whole[r, c].sum()) for r in (0, 39) for c in (0, 55)}
    targets = next(iter(loader)).target
    seen = {float(v) for r in (0, -1) for c in (0, -1) for v in targets[:, :, r, c].sum(1)}
    assert len(corners) == 4
    assert corners <= seen


def test_settings_of_one_thing_leave_the_others(root):
    first = next(iter(data(root, noise=0.0).test_dataloader()))
    other = next(iter(data(root, noise=0.1, kernel="gaussian").test_dataloader()))
    assert torch.equal(first.target, other.target)
    louder = next(iter(data(root, noise=0.2, kernel="gaussian").test_dataloader()))
    noise = other.x.observation - blur(other.target, other.x.kernel)
    twice = louder.x.observation - blur(louder.target, louder.x.kernel)
    assert (twice - 2 * noise).abs().max() < 1e-6


def test_without_an_epoch_it_is_the_first(root):
    """As where Lightning takes another sampler, to overfit a few batches."""
    made = data(root)._samples["train"]
    assert torch.equal(made[3].x.observation, made[(0, 3)].x.observation)
    assert not torch.equal(made[3].x.observation, made[(1, 3)].x.observation)


def test_samples_can_be_sent_to_workers_that_are_started_afresh(root):
    for options in ({}, {"kernel": "gaussian"}):
        module = data(root, **options)
        sent = pickle.loads(pickle.dumps(module._samples["test"]))
        assert torch.equal(sent[1].x.observation, module._samples["test"][1].x.observation)
