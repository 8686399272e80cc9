"""`load` on files that are no good: each says what is wrong. The round trip is in tests/cli."""

import pytest
import torch
import yaml

from lit_implicit.errors import CheckpointError
from lit_implicit.loading import CONFIG_KEY, load

MODEL = {
    "class_path": "lit_implicit.ImplicitLightningModule",
    "init_args": {
        "operator": {"class_path": "affine_task.AffineOperator", "init_args": {"gain": 0.2}},
        "objective": {"class_path": "affine_task.AffineObjective"},
    },
}


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint of an affine model, with some of its parts replaced; return its path."""

    def save(model=MODEL, **parts):
        from affine_task import AffineObjective, AffineOperator

        from lit_implicit import ImplicitLightningModule

        module = ImplicitLightningModule(AffineOperator(), AffineObjective())
        config = yaml.safe_dump({"model": model, "task": "affine"})
        checkpoint = {"state_dict": module.state_dict(), CONFIG_KEY: config, **parts}
        torch.save({k: v for k, v in checkpoint.items() if v is not None}, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt"

    return save


def test_load_takes_settings_and_weights_from_the_file(save):
    module = load(save())
    gain = float(module.operator.weight[0, 0].detach())
    assert gain == pytest.approx(0.3)  # the weights', not the setting's
    assert not module.training


def test_missing_file_names_its_neighbours(save):
    path = save()
    with pytest.raises(CheckpointError, match=r"'.*last.ckpt' does not exist.*: best.ckpt"):
        load(path.with_name("last.ckpt"))


def test_checkpoint_without_settings(save):
    with pytest.raises(CheckpointError, match="carries no settings"):
        load(save(**{CONFIG_KEY: None}))


def test_file_of_another_kind(tmp_path):
    path = tmp_path / "best.ckpt"
    path.write_text("no checkpoint")
    with pytest.raises(CheckpointError, match="is no checkpoint, or cut off"):
        load(path)
    torch.save({"a": 1}, path)
    with pytest.raises(CheckpointError, match="no 'state_dict'"):
        load(path)


def test_objects_are_not_unpickled(save, tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    with pytest.raises(CheckpointError, match="holds pickled objects"):
        load(save(extra=Code()))
    assert not (tmp_path / "written").exists()


def test_weights_that_do_not_fit(save):
    with pytest.raises(CheckpointError, match="do not fit the model"):
        load(save(state_dict={"operator.other": torch.zeros(1)}))


def test_class_that_is_not_there(save):
    operator = {"class_path": "no_such_package.Operator"}
    model = {**MODEL, "init_args": {**MODEL["init_args"], "operator": operator}}
    with pytest.raises(CheckpointError, match="cannot be made from the settings"):
        load(save(model=model))
