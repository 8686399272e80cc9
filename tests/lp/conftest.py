"""A cache of solved programs that all tests of the task share."""

import pytest
import torch

from lit_implicit_lp.data import LPDataModule

SIZES = [(10, 50, 100), (6, 20, 30)]


@pytest.fixture(scope="session")
def lp_root(tmp_path_factory):
    return tmp_path_factory.mktemp("lp")


@pytest.fixture(scope="session")
def lp_data(lp_root):
    """Few programs of two sizes in float64, all splits loaded."""
    data = LPDataModule(
        root=str(lp_root),
        n_train=20,
        n_val=6,
        n_test=10,
        sizes=SIZES,
        batch_size=8,
        eval_batch_size=5,
        dtype="float64",
        progress=False,
    )
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="session")
def lp_batch(lp_data):
    """Five test programs of two sizes, with perturbations."""
    batch = next(iter(lp_data.test_dataloader()))
    assert len(set(batch.ptr.diff().tolist())) == 2
    return batch


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
