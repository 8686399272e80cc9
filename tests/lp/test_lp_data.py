"""The data module: splits, order, precision, and arguments that make no sense."""

import pytest
import torch

from lit_implicit.cli import main
from lit_implicit_lp.data import LPDataModule


def data_module(root, **changes):
    settings = {
        "n_train": 12, "n_val": 4, "n_test": 4, "sizes": [(3, 8, 12)], "batch_size": 4,
        "progress": False,
    }  # fmt: skip
    return LPDataModule(root=str(root), **(settings | changes))


def order(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [i for batch in loader for i in batch.index.tolist()]


def test_splits_share_no_program(lp_root):
    data = data_module(lp_root)
    data.prepare_data()
    data.setup()
    costs = [
        cost
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
        for batch in loader
        for cost in batch.c.tolist()
    ]
    assert len(costs) == 20 * 8
    assert len(set(costs)) == len(costs)


def test_row_sparse_family_gives_larger_programs(lp_root):
    data = data_module(lp_root, family="row_sparse", sizes=[(20, 60, 100)], perturb_splits=())
    data.prepare_data()
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert batch.num_graphs == 4
    assert torch.equal(batch.edge_index[0].bincount(), torch.full((80,), 5))
    assert torch.equal(batch.index, torch.arange(4))


def test_training_order_is_a_function_of_seed_and_epoch(lp_root):
    data = data_module(lp_root)
    data.prepare_data()
    data.setup("fit")
    first = order(data, 0)
    assert len(set(first)) == 12
    assert order(data, 1) != first
    again = data_module(lp_root)
    again.setup("fit")
    assert order(again, 0) == first


def test_growing_a_split_keeps_its_programs(lp_root):
    small, large = data_module(lp_root, n_test=4), data_module(lp_root, n_test=9)
    batches = []
    for data in (small, large):
        data.prepare_data()
        data.setup("test")
        batches.append(next(iter(data.test_dataloader())))
    assert batches[0].index.tolist() == batches[1].index.tolist()[:4]
    assert torch.equal(batches[0].target, batches[1].target[: 4 * 8])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batches_have_the_precision_asked_for(lp_root, dtype):
    data = data_module(lp_root, dtype=dtype)
    data.prepare_data()
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    real = {name: v.dtype for name, v in batch.to_dict().items()
            if isinstance(v, torch.Tensor) and v.is_floating_point()}  # fmt: skip
    assert set(real.values()) == {getattr(torch, dtype)}
    assert {"c", "target", "delta_A", "shift_u", "objective"} <= set(real)


def test_only_the_named_splits_and_modes_are_perturbed(lp_root):
    data = data_module(lp_root, perturb_splits=["test"], perturb_modes=["c", "u"])
    data.prepare_data()
    data.setup()
    assert "delta_c" not in next(iter(data.train_dataloader()))
    assert "delta_c" not in next(iter(data.val_dataloader()))
    batch = next(iter(data.predict_dataloader()))
    assert "delta_c" in batch
    assert "delta_u" in batch
    assert "delta_b" not in batch


def test_workers_make_the_same_batches(lp_root):
    batches = []
    for num_workers in (0, 1):
        data = data_module(lp_root, num_workers=num_workers)
        data.prepare_data()
        data.setup("test")
        batches.append(next(iter(data.test_dataloader())))
    assert torch.equal(batches[0].target, batches[1].target)
    assert batches[0].num_graphs == batches[1].num_graphs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 0}, r"`LPDataModule.n_train` must be at least 1, got 0"),
        ({"n_val": -3}, r"`LPDataModule.n_val` must be at least 1, got -3"),
        ({"n_test": 0}, r"`LPDataModule.n_test` must be at least 1, got 0"),
        ({"batch_size": 0}, r"`LPDataModule.batch_size` must be at least 1, got 0"),
        ({"eval_batch_size": 0}, r"`LPDataModule.eval_batch_size` must be at least 1, got 0"),
        ({"root": ""}, r"`LPDataModule.root` is empty"),
        ({"seed": -1}, r"`LPDataModule.seed` must be at least 0, got -1"),
        ({"seed": 2**63}, r"`LPDataModule.seed` must be below 2\*\*63, got 9223372036854775808"),
        ({"perturb_norm": -1e-4}, r"`LPDataModule.perturb_norm` must be positive, got -0.0001"),
        ({"perturb_norm": float("nan")}, r"`LPDataModule.perturb_norm` must be positive, got nan"),
        ({"sizes": [(0, 3, 0)]}, r"`LPDataModule.sizes` must hold .* got \(0, 3, 0\)"),
        ({"sizes": [(-2, 3, 1)]}, r"`LPDataModule.sizes` must hold .* got \(-2, 3, 1\)"),
        ({"num_workers": -1}, r"`LPDataModule.num_workers` must be at least 0"),
        ({"sizes": []}, r"`LPDataModule.sizes` is empty; the paper's is"),
        ({"sizes": [(2, 3, 7)]}, r"at most constraints \* variables nonzeros, got \(2, 3, 7\)"),
        ({"sizes": [(2, 3)]}, r"`LPDataModule.sizes` must hold .* got \(2, 3\)"),
        ({"perturb_norm": 0.0}, r"`LPDataModule.perturb_norm` must be positive, got 0.0"),
        ({"perturb_modes": ["x"]}, r"`LPDataModule.perturb_modes` may hold A, b, c, l, u, got"),
        ({"perturb_splits": ["train"]}, r"`LPDataModule.perturb_splits` may hold val, test"),
        ({"dtype": "float16"}, r"`LPDataModule.dtype` must be float32 or float64, got 'float16'"),
        (
            {"family": "x"},
            r"`LPDataModule.family` must be one of paper, row_sparse, mixed, got",
        ),
        (
            {"family": "row_sparse", "sizes": [(3, 8, 10)]},
            r"`LPDataModule.sizes` must hold equally many nonzeros .* \(3, 8, 10\)",
        ),
    ],
)
def test_bad_argument_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        data_module(**({"root": tmp_path} | changes))


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("n_train=0", ["`data.n_train` must be at least 1, got 0"]),
        ("n_val=x", ["`data.n_val` must be int, got x"]),
        ("perturb_norm=.nan", ["`data.perturb_norm` must be positive, got nan"]),
        ("perturb_modes=[A,x]", ["`data.perturb_modes`", "x"]),
        ("sizes=[[2,3]]", ["`data.sizes`", "[2, 3]"]),
        ("sizes=[[2,3,7]]", ["`data.sizes`", "at most constraints * variables", "(2, 3, 7)"]),
        ("dtype=float16", ["`data.dtype` must be 'float32' or 'float64', got float16"]),
    ],
)
def test_setting_that_makes_no_sense_is_one_line(tmp_path, monkeypatch, capsys, option, parts):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task=lp", "--trainer.accelerator=cpu", f"--data.{option}"]) == 2
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if not line.startswith("Seed set")]
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line
    assert not any(tmp_path.glob("runs/*/*"))
    assert not (tmp_path / "data").exists()
