"""Pictures of the first batch, where and when they are due."""

import pytest
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_implicit import ExplicitLightningModule, ImplicitLightningModule
from lit_implicit.callbacks import Gallery
from lit_implicit.errors import ConfigError


class DrawnObjective(AffineObjective):
    """Draws a point per answer, and remembers of what."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def figures(self, y, batch):
        from matplotlib.figure import Figure

        self.drawn.append((y, batch))
        figure = Figure()
        figure.subplots().plot(y[:, 0], batch[1][:, 0], ".")
        return {"answers": figure}


def trainer_in(folder, **settings):
    return Trainer(
        accelerator="cpu", logger=TensorBoardLogger(folder, name="", version=""),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
def test_first_batch_is_shown_every_n_epochs_and_in_tests(tmp_path, kind):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    objective, data = DrawnObjective(), AffineData(n_samples=8, batch_size=4)
    if kind == "implicit":
        module = ImplicitLightningModule(AffineOperator(), objective)
    else:
        module = ExplicitLightningModule(AffineNetwork(), objective)
    trainer = trainer_in(tmp_path, max_epochs=5, callbacks=[Gallery(every_n_epochs=2)])
    trainer.fit(module, data)
    assert len(objective.drawn) == 3  # not of the sanity check, and one batch of two
    trainer.test(module, data, verbose=False)
    y, batch = objective.drawn[-1]
    first = next(iter(data.test_dataloader()))
    assert all(a.equal(b) for a, b in zip(batch, first, strict=True))
    assert y.allclose(module(first[0]))
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    # Every second epoch, and the last.
    assert [event.step for event in events.Images("val/answers")] == [1, 3, 4]
    assert [event.step for event in events.Images("test/answers")] == [5]
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"val_answers.png", "test_answers.png"}


def test_zero_epochs_leave_the_pictures_to_tests(tmp_path):
    objective, data = DrawnObjective(), AffineData()
    trainer = trainer_in(tmp_path, max_epochs=2, callbacks=[Gallery(every_n_epochs=0)])
    module = ImplicitLightningModule(AffineOperator(), objective)
    trainer.fit(module, data)
    assert not objective.drawn
    trainer.validate(module, data, verbose=False)
    assert len(objective.drawn) == 1


def test_task_without_figures_shows_none(tmp_path):
    module = ImplicitLightningModule(AffineOperator(), AffineObjective())
    trainer_in(tmp_path, max_epochs=1, callbacks=[Gallery(1)]).fit(module, AffineData())
    assert not list(tmp_path.rglob("*.png"))


def test_negative_number_of_epochs_is_named():
    with pytest.raises(ConfigError, match=r"`Gallery\.every_n_epochs` must be at least 0, got -1"):
        Gallery(every_n_epochs=-1)
