"""Each check of a task passes sound ones, and names the fault it is there for."""

import re
import sys

import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from torch.utils.data import DataLoader

from lit_implicit import TaskSpec
from lit_implicit.testing import CheckFailedError, check_task, objective_checks, operator_checks

SMALL = {"n_train": 8, "n_val": 4, "n_test": 4}
RUNS = ["fit", "reload", "predict"]
PARTS = ["operators.*", "objective.*", "baselines.*"]


class NoBatch(AffineData):
    def val_dataloader(self):
        return DataLoader([])


class NoTestData(AffineData):
    test_dataloader = None


class ShuffledTest(AffineData):
    def test_dataloader(self):
        return DataLoader(super().test_dataloader().dataset, batch_size=4, shuffle=True)


class ShuffledTraining(AffineData):
    def train_dataloader(self):
        return DataLoader(super().train_dataloader().dataset, batch_size=4, shuffle=True)


class NeedsArguments(AffineOperator):
    def __init__(self, gain):
        super().__init__(gain)


class MixesSamples(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c) + 0.1 * z.mean(0)


class MeanLoss(AffineObjective):
    def loss(self, y, batch):
        return super().loss(y, batch).mean()


class Undefined(AffineNetwork):
    def forward(self, x):
        return super().forward(x) / 0


class FailsWithATrainer(AffineData):
    """It works alone, but not where the trainer has a say."""

    def train_dataloader(self):
        if self.trainer is not None:
            raise RuntimeError("no such rank")
        return super().train_dataloader()


class GrowsABuffer(AffineOperator):
    """Its state dict depends on whether it has been used: no fresh one can load it."""

    def forward(self, z, c):
        if not hasattr(self, "seen"):
            self.register_buffer("seen", torch.zeros(1))
        return super().forward(z, c)


class NothingToPredict(AffineData):
    predict_dataloader = None


def spec(**parts):
    """The affine task with some of its classes replaced."""
    paths = {"data": "AffineData", "objective": "AffineObjective", "operator": "AffineOperator"}
    path = {key: f"affine_task.{name}" for key, name in paths.items()}
    path |= {key: f"{__name__}.{found.__name__}" for key, found in parts.items()}
    baseline = path.pop("network", "affine_task.AffineNetwork")
    operators = {"affine": path.pop("operator")}
    return TaskSpec(summary="Affine", operators=operators, baselines={"net": baseline}, **path)


BROKEN = [
    ("classes", {"data": AffineNetwork}, "must derive from LightningDataModule"),
    ("data", {"data": NoBatch}, "`val_dataloader` gives no batch"),
    ("data", {"data": NoTestData}, "NoTestData.test_dataloader` fails: TypeError"),
    ("data", {"data": ShuffledTest}, "`test_dataloader` gives other batches the second time"),
    ("shuffling", {"data": ShuffledTraining}, "DistributedSampler"),
    ("operators.affine.constructor", {"operator": NeedsArguments}, "operator_args={'affine'"),
    ("operators.affine.batch_invariance", {"operator": MixesSamples}, "G of sample 0 alone"),
    ("objective.per_sample", {"objective": MeanLoss}, "Take no mean over the batch"),
    ("baselines.net", {"network": Undefined}, "loss of Undefined's answer"),
]  # fmt: skip


def failures(task, **options):
    with pytest.raises(CheckFailedError) as caught:
        check_task(task, **options)
    return {r.name: r.message for r in caught.value.report.results if r.status == "failed"}


@pytest.mark.parametrize(("name", "parts", "sentence"), BROKEN)
def test_check_names_the_fault(name, parts, sentence):
    found = failures(spec(**parts), skip=RUNS)
    assert name in found, found
    assert re.search(sentence, found[name]), found[name]
    kind = name.partition(".")[0]
    assert {other.partition(".")[0] for other in found} <= {kind, "baselines"}, found


@pytest.mark.parametrize(
    ("name", "parts", "sentence"),
    [
        ("fit", {"data": FailsWithATrainer}, "no such rank"),
        pytest.param(
            "reload", {"operator": GrowsABuffer}, "do not fit the model", marks=pytest.mark.slow
        ),
        pytest.param(
            "predict", {"data": NothingToPredict}, "predict_dataloader", marks=pytest.mark.slow
        ),
    ],
)
def test_run_names_the_fault(name, parts, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = failures(spec(**parts), skip=PARTS)
    assert name in found, found
    assert re.search(sentence, found[name]), found
    # What cannot be loaded cannot predict, either.
    assert set(found) <= {name, "predict"}
    assert not any(tmp_path.iterdir())  # runs write to a folder of their own


SPEC = """
{first}
from lit_implicit import TaskSpec
task = TaskSpec(
    summary="{summary}", data="affine_task.AffineData", objective="affine_task.AffineObjective",
    operators={{"affine": "affine_task.AffineOperator"}},
)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Register the task `kit` by a fake distribution."""

    def install(first="", summary="Affine."):
        info = tmp_path / "kit_pkg-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit-pkg\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[lit_implicit.tasks]\nkit = kit_spec:task\n")
        (tmp_path / "kit_spec.py").write_text(SPEC.format(first=first, summary=summary))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "kit_spec", raising=False)

    return install


def test_registered_task_passes_whole(install):
    install()
    report = check_task("kit")
    names = [result.name for result in report.results]
    assert names[:5] == ["entry_point", "import_light", "classes", "data", "shuffling"]
    assert names[-3:] == RUNS
    assert {f"operators.affine.{c.name}" for c in operator_checks()} <= set(names)
    assert {f"objective.{c.name}" for c in objective_checks()} <= set(names)
    assert report.names("skipped") == ["objective.figures", "objective.metrics"]
    assert report["entry_point"].message == "kit_spec:task, from kit-pkg 1.0"
    assert "test_lipschitz_curve.png" in report["fit"].message
    assert report["predict"].message.startswith("predictions_00000.pt")


def test_entry_point_must_lead_to_a_sound_spec(install):
    assert "Known: " in failures("no_such_task")["entry_point"]
    install(first="raise OSError('boom')")
    assert list(failures("kit")) == ["entry_point"]


def test_summary_must_be_one_line(install):
    install(summary="")
    assert "must be one line" in failures("kit", skip=[*PARTS, *RUNS])["entry_point"]


def test_spec_must_not_import_what_is_heavy(install):
    install(first="import numpy")
    found = failures("kit", skip=[*PARTS, *RUNS])
    assert list(found) == ["import_light"]
    assert "`kit_spec` imports numpy" in found["import_light"]


def test_arguments_reach_the_classes():
    task = spec(operator=NeedsArguments)
    report = check_task(
        task, operator_args={"affine": {"gain": 0.2}}, data_args={"batch_size": 3},
        objective_args={"drawn": False}, skip=RUNS,
    )  # fmt: skip
    assert report["data"].message == "samples of the first batch: train 3, val 3, test 3"
    with pytest.raises(ValueError, match="arguments for 'afine'; the task has affine, net"):
        check_task(task, operator_args={"afine": {}}, skip=RUNS)


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match=r"fits no check: 'operators.other.\*'"):
        check_task(spec(), skip=["operators.other.*", *RUNS])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scalar", "lp", "imaging", "text"])
def test_the_tasks_of_this_project_pass(name, tmp_path):
    own = {
        "scalar": {},
        "lp": {"root": str(tmp_path), "progress": False, "sizes": [(6, 20, 30), (5, 10, 20)]},
        "imaging": {"crop": 32, "kernel_size": 7},
        "text": {"tokenizer": "bytes", "context": 256},
    }
    sizes = {"width": 16, "heads": 2, "core": 1}
    parts = {
        "objective_args": {"width": 16, "max_new_tokens": 4},
        "operator_args": {"looped": sizes, "untied": {"depth": 2, **sizes}},
    }
    report = check_task(name, data_args={**SMALL, **own[name]}, **(parts if name == "text" else {}))
    allowed = {
        "scalar": {"derivative", "leaves", "metrics"},  # no parameters; not defined by the task
        # Its answers are solutions with duals, which the kit cannot take apart.
        "lp": {"derivative", "error_of_target", "select", "metrics", "write"},
        "imaging": set(),
        "text": {"error_of_target", "figures"},  # tokens are no logits; it shows answers by t
    }
    skipped = {check.rpartition(".")[2] for check in report.names("skipped")}
    assert skipped <= allowed[name]
