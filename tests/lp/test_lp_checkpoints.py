"""The checkpoints in results/: small, loaded by one line, with the error they are said to have."""

import csv
from pathlib import Path

import pytest
import torch

import lit_implicit
from lit_implicit.reporting.report import count_parameters
from lit_implicit_lp.data import LPDataModule

FOLDER = Path(__file__).parents[2] / "results" / "lp" / "checkpoints"
N_PROGRAMS = 20


def rows():
    with (FOLDER / "checkpoints.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def batch(lp_root):
    """The first of the 1,000 test programs of the default runs."""
    data = LPDataModule(str(lp_root), n_train=1, n_val=1, n_test=N_PROGRAMS, progress=False)
    data.prepare_data()
    data.setup("test")
    return next(iter(data.test_dataloader()))


def test_every_checkpoint_is_listed():
    assert sorted(row["file"] for row in rows()) == sorted(p.name for p in FOLDER.glob("*.ckpt"))
    assert rows()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_checkpoint_has_its_error(row, batch):
    path = FOLDER / row["file"]
    assert path.stat().st_size < 300_000
    model = lit_implicit.load(path)
    assert count_parameters(model) == int(row["parameters"])
    with torch.no_grad():
        y = model(model.objective.inputs(batch))
    error = model.objective.error(y, batch).mean()
    # Other builds round otherwise, and a learned iteration can amplify it.
    assert float(error) == pytest.approx(float(row["error_first_20"]), abs=0.01)
