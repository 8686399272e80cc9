"""Pictures of the first batch, where and when they are due, and of what names."""

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_implicit import Anderson, ExplicitLightningModule, ImplicitLightningModule
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


class NamedObjective(AffineObjective):
    """Draws pictures of the names that it is given."""

    def __init__(self, *names):
        super().__init__()
        self.names = names

    def figures(self, y, batch):
        from matplotlib.figure import Figure

        return {name: Figure(figsize=(1, 1)) for name in self.names}


def test_name_of_a_picture_leads_nowhere(tmp_path):
    objective = NamedObjective("../../x", "/abs", "error/hist")
    module = ImplicitLightningModule(AffineOperator(), objective)
    run = tmp_path / "runs" / "run"
    trainer_in(run, callbacks=[Gallery()]).test(module, AffineData(), verbose=False)
    pictures = {path.relative_to(run) for path in tmp_path.rglob("*.png")}
    assert {str(path) for path in pictures} == {
        "figures/test__.._x.png", "figures/test__abs.png", "figures/test_error_hist.png",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_picture_that_cannot_be_written_costs_no_run(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    module = ImplicitLightningModule(AffineOperator(), DrawnObjective())
    trainer = trainer_in(tmp_path, max_epochs=1, callbacks=[Gallery(1)])
    with pytest.warns(UserWarning, match=r"picture is left out.*File exists: '.*figures'"):
        trainer.fit(module, AffineData())
    assert trainer.state.finished


class IteratedObjective(AffineObjective):
    """Remembers the iterates that it was given to draw."""

    times = (1, 3)

    def __init__(self):
        super().__init__()
        self.drawn = []

    def figures_over_iterations(self, iterates, y, batch):
        from matplotlib.figure import Figure

        self.drawn.append((dict(iterates), y, batch))
        return {"iterates": Figure()}


@pytest.mark.parametrize("times", [None, [0, 2, 7]])
def test_iterates_of_the_first_test_batch_are_shown(tmp_path, times):
    objective, data = IteratedObjective(), AffineData(n_samples=8, batch_size=4)
    operator = AffineOperator(0.5)
    module = ImplicitLightningModule(operator, objective, Anderson(rtol=1e-6))
    gallery = Gallery(every_n_epochs=1, times=times)
    trainer = trainer_in(tmp_path, max_epochs=1, callbacks=[gallery])
    trainer.fit(module, data)
    assert not objective.drawn  # the validation of a fit would pay for it again and again
    trainer.test(module, data, verbose=False)
    ((drawn, y, batch),) = objective.drawn
    assert list(drawn) == (times or [1, 3])
    w = operator.weight.detach()
    for t, y_t in drawn.items():
        exact = sum((batch[0] @ torch.linalg.matrix_power(w, k) for k in range(t)), 0 * batch[0])
        assert torch.allclose(y_t, exact, atol=1e-6)
    assert torch.allclose(y, batch[0] @ torch.linalg.inv(torch.eye(len(w)) - w), atol=1e-4)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["test_iterates.png"]


@pytest.mark.parametrize("case", ["no times", "no such figures", "explicit"])
def test_nothing_is_iterated_for_no_picture(tmp_path, case, monkeypatch):
    monkeypatch.setattr("lit_implicit.callbacks.gallery.iterates", None)  # fails if called
    objective = AffineObjective() if case == "no such figures" else IteratedObjective()
    if case == "explicit":
        module = ExplicitLightningModule(AffineNetwork(), objective)
    else:
        module = ImplicitLightningModule(AffineOperator(), objective)
    gallery = Gallery(times=[] if case == "no times" else None)
    trainer_in(tmp_path, callbacks=[gallery]).test(module, AffineData(), verbose=False)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("times", [[5, 2], [-1, 3], [2, 2]])
def test_times_that_do_not_ascend_are_named(times):
    with pytest.raises(ConfigError, match=r"`Gallery\.times` must ascend, from 0 on, got \["):
        Gallery(times=times)


def test_negative_number_of_epochs_is_named():
    with pytest.raises(ConfigError, match=r"`Gallery\.every_n_epochs` must be at least 0, got -1"):
        Gallery(every_n_epochs=-1)
