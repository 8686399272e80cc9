"""Answers of `predict` in their folder, and a disk that does not take them."""

import errno

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer

from lit_implicit import ImplicitLightningModule
from lit_implicit.callbacks.prediction_writer import PredictionWriter
from lit_implicit.errors import DataError


class FullDisk(AffineObjective):
    """Writes the answers to one batch, and finds the disk full with the second."""

    def write(self, y, solution, batch, folder):
        if any(folder.iterdir()):
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(y, solution, batch, folder)


def predict(folder, objective):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[PredictionWriter(folder)],
    )  # fmt: skip
    module = ImplicitLightningModule(AffineOperator(), objective)
    trainer.predict(module, AffineData(n_samples=8, batch_size=4), return_predictions=False)
    return module


def test_each_batch_is_written(tmp_path):
    module = predict(tmp_path / "predictions", AffineObjective())
    paths = sorted((tmp_path / "predictions").iterdir())
    assert [path.name for path in paths] == ["predictions_00000.pt", "predictions_00001.pt"]
    x = torch.cat(
        [batch[0] for batch in AffineData(n_samples=8, batch_size=4).predict_dataloader()]
    )
    assert torch.cat([torch.load(path) for path in paths]).allclose(module.eval()(x))


def test_full_disk_names_folder_and_option_and_keeps_what_is_there(tmp_path):
    folder = tmp_path / "predictions"
    with pytest.raises(DataError, match=r"batch 1 into '.*predictions': .*No space.*`run_dir`"):
        predict(folder, FullDisk())
    assert [path.name for path in folder.iterdir()] == ["predictions_00000.pt"]


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"batch 0 into '.*predictions': .*Not a directory"):
        predict(tmp_path / "file" / "predictions", AffineObjective())
