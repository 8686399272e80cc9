"""Seven samples on two ranks are measured as by one process, though one rank has a batch less."""

import warnings

import pytest
import torch
from affine_task import AffineObjective
from lightning.pytorch import LightningDataModule
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler
from two_ranks import QUIET, Rates, dealt, make_module, on_ranks, samples

from lit_implicit.callbacks import SolverMonitor, TestTimeCurveMonitor
from lit_implicit.cli.trainer import CurveTrainer

N = 7  # four of rank 0, in two batches, and three of rank 1, in one


class OwnBatches(BatchSampler):
    """A user's class, which Lightning makes again with its own sampler."""


class Batched(LightningDataModule):
    def test_dataloader(self):
        data = samples(N)
        batches = OwnBatches(SequentialSampler(data), batch_size=3, drop_last=False)
        return DataLoader(data, batch_sampler=batches)


def loaders(rank=0, n_ranks=1):
    """What a task may hand over: a loader, one with a batch sampler, one already dealt out."""
    plain = DataLoader(samples(N), batch_size=3)
    return {
        "plain": plain,
        "batch_sampler": Batched(),
        "dealt": dealt(samples(N), 3, rank, n_ranks),
    }


def evaluate(folder, n_ranks, loader, n_fit=0):
    """Test, or validate within a `fit`, in which the model is wrapped in DDP."""
    curve = TestTimeCurveMonitor(6, every_n_epochs=1)
    settings = {"strategy": "ddp", "devices": n_ranks} if n_ranks > 1 else {"devices": 1}
    settings |= {**QUIET, "default_root_dir": folder, "callbacks": [SolverMonitor(), curve]}
    trainer = CurveTrainer(max_epochs=1, **settings)
    module = make_module(Rates(buffered=True))
    if n_fit:
        rank = trainer.global_rank
        trainer.fit(module, dealt(samples(n_fit), n_fit // n_ranks, rank, n_ranks), loader)
    else:
        trainer.test(module, loader, verbose=False)
    stage = "val" if n_fit else "test"
    numbers = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(stage)}
    columns = curve.results[stage]
    columns.pop("seconds", None)
    return numbers, columns


def work(rank, n_ranks, folder):
    torch.distributed.init_process_group("gloo")
    found = {
        name: evaluate(folder, n_ranks, loader) for name, loader in loaders(rank, n_ranks).items()
    }
    found["fit"] = evaluate(folder, n_ranks, loaders()["plain"], n_fit=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found["fewer"] = evaluate(folder, n_ranks, DataLoader(samples(1)))
    found["warnings"] = [str(w.message) for w in caught if "counts" in str(w.message)]
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_ranks(work, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "batch_sampler", "dealt", "fit"])
def test_two_ranks_measure_seven_samples_as_one_process(ranks, case, tmp_path):
    n_fit = 4 if case == "fit" else 0
    numbers, columns = evaluate(tmp_path, 1, DataLoader(samples(N), batch_size=3), n_fit)
    stage = "val" if n_fit else "test"
    assert {f"{stage}/{name}" for name in ("loss", "error", "n_iter_mean", "n_iter_max")} <= {
        *numbers
    }
    # Metrics are means in float32.
    for found, curve in (rank[case] for rank in ranks):
        assert found == pytest.approx(numbers, rel=2e-6)
        assert curve.keys() == columns.keys()
        for name, values in columns.items():
            assert curve[name] == pytest.approx(values, rel=1e-12), name
    # Counting the first sample twice, as Lightning does, is another number.
    repeated = [*range(N), 0]
    objective, (x, y) = AffineObjective(), samples(N).tensors
    error = objective.error(make_module()(x), (x, y))
    assert abs(error[repeated].mean() - error.mean()) > 1e-2 * error.mean()


@pytest.mark.slow
def test_fewer_samples_than_ranks_are_repeated_with_one_warning(ranks, tmp_path):
    numbers, _ = evaluate(tmp_path, 1, DataLoader(samples(1)))
    assert [rank["fewer"][0] for rank in ranks] == [pytest.approx(numbers, rel=1e-6)] * 2
    first, other = (rank["warnings"] for rank in ranks)
    assert len(first) == 1
    assert first[0].startswith("This evaluation counts 1 samples more than the 1 that there are")
    assert other == []


def test_what_is_not_lightnings_is_left_alone():
    from types import SimpleNamespace

    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

    from lit_implicit.cli.exact_evaluation import shorten_samplers

    class Own(DistributedSampler):
        pass

    def lengths(strategy, training=False, **settings):
        shorten_samplers(strategy, SimpleNamespace(training=training))
        kind = settings.pop("kind", DistributedSampler)
        loaders = [
            DataLoader(samples(N), sampler=kind(samples(N), 2, rank, shuffle=False, **settings))
            for rank in (0, 1)
        ]
        return [len(strategy.process_dataloader(loader)) for loader in loaders]

    assert lengths(DDPStrategy()) == [4, 3]
    assert lengths(DDPStrategy(), training=True) == [4, 4]
    assert lengths(DDPStrategy(), kind=Own) == [4, 4]
    assert lengths(DDPStrategy(), drop_last=True) == [3, 3]
    assert lengths(FSDPStrategy()) == [4, 4]  # communicates in every forward
