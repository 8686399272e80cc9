"""Where training solves start: at each sample's own last state, also after a resume."""

from collections import defaultdict
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from affine_task import AffineNetwork, AffineObjective
from lightning.pytorch import Callback, Trainer
from problems import (
    Affine,
    RaggedAffine,
    RaggedObjective,
    affine_solution,
    matrix,
    random,
    systems,
)
from torch.utils.data import DataLoader, TensorDataset

from lit_implicit import ExplicitLightningModule, ImplicitLightningModule, Picard, WarmStart
from lit_implicit.callbacks.state_table import Samples, StateTable
from lit_implicit.data import EpochDataLoader
from lit_implicit.errors import ConfigError, ObjectiveError
from lit_implicit.layout import Ragged

N, DIM = 10, 3
A = matrix(DIM, 0.5)
X = random(N, DIM)
FAILING = 4


class KeyedObjective(AffineObjective):
    def keys(self, batch):
        return batch[2]


class Recording(Affine):
    """G(z, x) = A z + x, which writes down where its solves start, by sample."""

    def __init__(self):
        super().__init__(A.clone())
        self.starts, self.broken = [], False

    def encode(self, x):
        self.starts.append({})
        return x

    def forward(self, z, c):
        if not self.starts[-1]:
            self.starts[-1] = {
                int((X - x).abs().sum(1).argmin()): start for x, start in zip(c, z, strict=True)
            }
        gz = super().forward(z, c)
        fails = self.broken & (c == X[FAILING]).all(1, keepdim=True)
        return torch.where(fails, torch.full_like(gz, torch.nan), gz)


class StepCounts(Callback):
    """Iterations of each sample and gradients, by epoch."""

    def __init__(self):
        self.n_iter, self.gradients = defaultdict(dict), []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradients.append(module.operator.a.grad.clone())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        counts = zip(batch[2].tolist(), outputs["solution"].n_iter.tolist(), strict=False)
        self.n_iter[trainer.current_epoch].update(counts)


def loader(x=X, keys=None):
    keys = torch.arange(len(x)) if keys is None else keys
    return EpochDataLoader(TensorDataset(x, 2 * x, keys), batch_size=4)


def trainer(tmp_path, *callbacks, max_epochs=2, **options):
    return Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=list(callbacks),
        **{"enable_checkpointing": False, "use_distributed_sampler": False,
           "limit_val_batches": 0, **options},
    )  # fmt: skip


class Module(ImplicitLightningModule):
    def __init__(self, lr=0.0, operator=None, objective=None, max_iter=400):
        solver = Picard(rtol=1e-9, max_iter=max_iter)
        super().__init__(operator or Recording(), objective or KeyedObjective(), solver)
        self.lr = lr

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(tmp_path, *callbacks, module=None, data=None, val=None, **options):
    module, data = module or Module(), data or loader()
    trainer(tmp_path, *callbacks, **options).fit(module, data, val or loader())
    return module


@pytest.mark.parametrize("device", ["cpu", "model"])
def test_the_second_epoch_takes_one_iteration_and_has_the_same_gradients(tmp_path, device):
    cold, warm = StepCounts(), StepCounts()
    fit(tmp_path, cold)
    fit(tmp_path, WarmStart(device), warm)
    assert cold.n_iter[0] == cold.n_iter[1] == warm.n_iter[0]
    assert min(cold.n_iter[1].values()) > 6
    assert warm.n_iter[1] == dict.fromkeys(range(N), 1)
    for a, b in zip(cold.gradients, warm.gradients, strict=True):
        # rtol 1e-9 of a map whose contraction factor is 0.5, forward and backward.
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("first", ["a sound epoch", "a failing epoch"])
def test_each_sample_starts_from_its_own_last_state_and_a_failed_one_from_zero(tmp_path, first):
    broken = [False, True, False, False] if first == "a sound epoch" else [True, False, False]

    class Break(Callback):
        def on_train_epoch_start(self, trainer, module):
            module.operator.broken = broken[trainer.current_epoch]
            ends.append(len(module.operator.starts))

    ends = []
    warm = WarmStart()
    module = fit(tmp_path, warm, Break(), max_epochs=len(broken))
    ends.append(len(module.operator.starts))
    z_star = affine_solution(A, X)
    orders = set()
    for epoch, (begin, end) in enumerate(pairwise(ends)):
        solves = module.operator.starts[begin:end]
        # Three batches; the one with the failed sample is solved again without it.
        assert len(solves) == 3 + broken[epoch]
        assert sorted(key for solve in solves for key in solve).count(FAILING) == 1
        orders.add(tuple(tuple(solve) for solve in solves))
        for key, start in ((key, start) for solve in solves for key, start in solve.items()):
            seen = epoch > 0 and not (key == FAILING and broken[epoch - 1])
            expected = z_star[key] if seen else torch.zeros_like(start)
            torch.testing.assert_close(start, expected, rtol=1e-7, atol=1e-8)
    assert len(orders) == len(broken)  # they were shuffled
    states = warm.state_dict()
    assert states["keys"].tolist() == list(range(N))
    torch.testing.assert_close(states["states"], z_star, rtol=1e-7, atol=1e-8)


def test_evaluation_starts_cold(tmp_path):
    class Train(Callback):
        def on_validation_epoch_start(self, trainer, module):
            self.begin = len(module.operator.starts)

    train = Train()
    val = DataLoader(TensorDataset(X, 2 * X, torch.arange(N)), batch_size=N)
    module = fit(tmp_path, WarmStart(), train, val=val, limit_val_batches=1)
    (last,) = module.operator.starts[train.begin :]
    assert all(not start.any() for start in last.values())
    assert module.train_start is None


def test_a_sample_may_be_drawn_twice_in_a_batch(tmp_path):
    keys = torch.tensor([0, 0, 3, 1, 3, 3, 2, 1])
    counts = StepCounts()
    warm = WarmStart()
    fit(tmp_path, warm, counts, data=loader(X[keys], keys))
    assert set(counts.n_iter[1].values()) == {1}
    torch.testing.assert_close(
        warm.state_dict()["states"], affine_solution(A, X[:4]), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("keeps_first", [True, False])
def test_a_resumed_run_equals_one_that_was_not_cut(tmp_path, keeps_first):
    """Cut in mid-epoch, and at its end; three steps are an epoch."""

    class Keep(Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step in (4, 6):
                trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    def run(*callbacks, ckpt_path=None):
        module, counts = Module(lr=1e-2), StepCounts()
        callbacks = (*callbacks, WarmStart())
        order = callbacks if keeps_first else callbacks[::-1]
        trainer(tmp_path, *order, counts, max_epochs=3).fit(
            module, loader(), loader(), ckpt_path=ckpt_path, weights_only=True
        )
        return module.operator.a, counts.n_iter[2]

    weight, n_iter = run(Keep())
    for cut in (4, 6):
        again = run(ckpt_path=tmp_path / f"{cut}.ckpt")
        assert torch.equal(again[0], weight)
        assert again[1] == n_iter
    # Else the states would not matter here.
    saved = torch.load(tmp_path / "6.ckpt", weights_only=True)
    del saved["callbacks"]["WarmStart"]
    torch.save(saved, tmp_path / "cold.ckpt")
    assert not torch.equal(run(ckpt_path=tmp_path / "cold.ckpt")[0], weight)


def test_another_fit_begins_without_the_states_of_the_last(tmp_path):
    warm, counts = WarmStart(), StepCounts()
    fit(tmp_path, warm)
    fit(tmp_path, warm, counts, max_epochs=1)
    assert min(counts.n_iter[0].values()) > 6


def test_ragged_states_of_linear_programs(tmp_path):
    lp = pytest.importorskip("lit_implicit_lp.data")
    from lit_implicit_lp.objective import LPObjective
    from lit_implicit_lp.operator import LPGraphOperator

    class Spy(Callback):
        """The start and the end of each program's solve, by its key."""

        def __init__(self):
            self.starts, self.ends = [], []

        def on_train_epoch_start(self, trainer, module):
            self.starts.append({})
            self.ends.append({})

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.first = None

            def note(operator, args):
                self.first = args[0] if self.first is None else self.first

            self.hook = module.operator.register_forward_pre_hook(note)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.hook.remove()
            for seen, z in ((self.starts, self.first), (self.ends, outputs["solution"].z)):
                for i, key in enumerate(batch.index.tolist()):
                    seen[-1][key] = z[batch.batch == i].detach()

    data = lp.LPDataModule(
        root=str(tmp_path), n_train=12, n_val=1, n_test=1, sizes=[(10, 50, 100), (6, 20, 30)],
        batch_size=5, dtype="float64", progress=False, perturb_splits=(),
    )  # fmt: skip
    torch.manual_seed(0)
    spy, warm = Spy(), WarmStart()
    module = Module(1e-3, LPGraphOperator(4).double(), LPObjective(), max_iter=4)
    trainer(tmp_path, warm, spy, max_epochs=3).fit(module, data)
    keys = sorted(spy.ends[0])
    assert len(keys) == 12
    assert {len(z) for z in spy.ends[0].values()} == {20, 50}
    for key in keys:
        assert not spy.starts[0][key].any()
        assert spy.ends[0][key].any()
        for epoch in (1, 2):
            assert torch.equal(spy.starts[epoch][key], spy.ends[epoch - 1][key])
    states = warm.state_dict()
    assert states["keys"].tolist() == keys
    assert torch.equal(states["states"], torch.cat([spy.ends[2][key] for key in keys]))


def test_rows_of_a_sample_need_not_lie_together():
    owner = torch.tensor([1, 0, 1, 2, 0, 1])
    z, layout = random(6, 2), Ragged(owner, 3)
    table = StateTable(torch.device("cpu"), 1000)
    table.write(Samples.of(np.array([7, 2, 5]), layout, z), z)
    known, rows = table.read(Samples.of(np.array([7, 2, 5]), layout, z), z)
    assert known.all()
    assert torch.equal(rows, z)
    # Sample 2 in another batch, beside an unknown one.
    known, rows = table.read(
        Samples.of(np.array([9, 2]), Ragged(torch.tensor([1, 0, 1, 1]), 2), z), z
    )
    assert known.tolist() == [False, True]
    assert torch.equal(rows, z[owner == 1])


class TwoProcesses(Trainer):
    """A trainer as far as it is needed: two processes, of which each has said its part."""

    world_size = 2
    strategy = None

    def __init__(self, parts):
        self.strategy = SimpleNamespace(broadcast=lambda mine, src: parts[src])


def test_processes_end_with_the_same_states():
    """Of one sample that two have seen the last rank's; one that failed at the last is cold."""
    states, tables = random(2, 4, 1), []
    for rank, keys in enumerate([[0, 1, 2], [1, 3, 4]]):
        table = StateTable(torch.device("cpu"), 10_000)
        table.write(Samples(np.array(keys), np.arange(3)), states[rank, :3])
        table.forget(np.array([5]))
        tables.append(table)
    tables[1].forget(np.array([3]))
    tables[0].write(Samples(np.array([3]), np.arange(1)), states[0, 3:])
    callbacks = [WarmStart() for _ in tables]
    parts = [table.changes() for table in tables]
    for callback, table in zip(callbacks, tables, strict=True):
        callback._table = table
        callback.on_train_epoch_end(TwoProcesses(parts), Module())
    expected = torch.stack([states[0, 0], states[1, 0], states[0, 2], states[1, 2]])
    for callback in callbacks:
        assert callback.state_dict()["keys"].tolist() == [0, 1, 2, 4]
        assert torch.equal(callback.state_dict()["states"], expected)
        assert set(callback._table.changes()) == {"forgotten"}  # all is told


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (None, r"`Wrong.keys` returns None. Return the index"),
        (torch.arange(4.0), r"int64 of shape \(4,\), got torch.float32 of shape \(4,\)"),
        (torch.arange(3), r"got torch.int64 of shape \(3,\)"),
        (torch.arange(4) - 2, r"got -2. Return the sample's index"),
        (torch.arange(4) + 2**60, r"`WarmStart.max_bytes` is 8,589,934,592, but .* keys up to"),
    ],
)
def test_keys_of_no_use_are_refused(tmp_path, keys, message):
    class Wrong(AffineObjective):
        def keys(self, batch):
            return keys

    with pytest.raises((ConfigError, ObjectiveError), match=message):
        fit(tmp_path, WarmStart(), module=Module(objective=Wrong()))


def test_too_many_states_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`WarmStart.max_bytes` is 200, but 2\d\d bytes are"):
        fit(tmp_path, WarmStart(max_bytes=200))
    fit(tmp_path, WarmStart(max_bytes=N * (18 + 8 * DIM)))  # the formula, exactly


def test_an_explicit_model_has_no_start(tmp_path):
    module = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    with pytest.raises(ConfigError, match=r"`WarmStart` needs .* does not iterate"):
        trainer(tmp_path, WarmStart()).fit(module, loader(X.float()), loader(X.float()))


def test_room_must_be_positive():
    with pytest.raises(ConfigError, match=r"`WarmStart.max_bytes` must be at least 1, got 0"):
        WarmStart(max_bytes=0)


def test_a_sample_of_another_size_is_refused(tmp_path):
    def batch(*sizes):
        x = systems(*((matrix(n, 0.5), random(n)) for n in sizes))
        return x, 2 * x.b

    module = Module(1e-3, RaggedAffine(), RaggedObjective())
    # No tensors that Lightning could split: batches as they come.
    data = DataLoader([batch(3, 2), batch(3, 4)], batch_size=None)
    with pytest.raises(ObjectiveError, match="1 named a state of 2 rows, and now one of 4"):
        fit(tmp_path, WarmStart(), module=module, data=data, max_epochs=1)


def test_rows_of_another_shape_are_refused():
    table = StateTable(torch.device("cpu"), 10_000)
    table.write(Samples(np.arange(2), np.arange(2)), random(2, 5))
    with pytest.raises(ConfigError, match=r"keep their shape, got \(7,\) after \(5,\)"):
        table.read(Samples(np.arange(2), np.arange(2)), random(2, 7))


def test_a_share_starts_afresh_by_seed_and_step(tmp_path):
    n_epochs, share = 40, 0.3
    data = EpochDataLoader(TensorDataset(X, 2 * X, torch.arange(N)), batch_size=N)
    module = fit(tmp_path, WarmStart(fresh_share=share), data=data, max_epochs=n_epochs)
    z_star = affine_solution(A, X)
    solves = module.operator.starts
    assert len(solves) == n_epochs  # an epoch is one step
    fresh = []
    for step, solve in enumerate(solves):
        drawn = np.random.default_rng([0, step]).random(len(solve)) < share
        for (key, start), afresh in zip(solve.items(), drawn, strict=True):
            expected = torch.zeros_like(start) if step == 0 or afresh else z_star[key]
            torch.testing.assert_close(start, expected, rtol=1e-7, atol=1e-8)
        fresh += drawn.tolist() if step > 0 else []
    # 390 draws: four standard errors.
    assert np.mean(fresh) == pytest.approx(share, abs=0.093)
    with pytest.raises(ConfigError, match=r"`WarmStart.fresh_share` must lie in \[0, 1\), got 1"):
        WarmStart(fresh_share=1.0)
