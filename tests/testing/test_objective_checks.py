"""Each check of an objective passes sound ones, and names the fault it is there for."""

import re
import unittest

import pytest
import torch
from affine_task import DIM, AffineObjective
from torchmetrics import MeanMetric, MeanSquaredError, Metric, MetricCollection

from lit_implicit.objective import AbstractObjective, Perturbed
from lit_implicit.testing import CheckFailedError, check_objective, objective_checks


def batch(n=4):
    x = torch.randn(n, DIM, generator=torch.Generator().manual_seed(0))
    return [x, 2 * x]


class Sound(AffineObjective):
    """With metrics and figures too, so that no check is skipped."""

    def metrics(self):
        return MetricCollection({"mse": MeanSquaredError()})

    def figures(self, y, batch):
        from matplotlib.figure import Figure

        return {"answers": Figure()}


class MeanLoss(Sound):
    def loss(self, y, batch):
        return super().loss(y, batch).mean()


class InfiniteError(Sound):
    def error(self, y, batch):
        return super().error(y, batch) / 0


class NegativeError(Sound):
    def error(self, y, batch):
        return -super().error(y, batch)


class CountsEntries(Sound):
    def n_samples(self, batch):
        return batch[0].numel()


class DetachedLoss(Sound):
    def loss(self, y, batch):
        return super().loss(y.detach(), batch)


class RootLoss(Sound):
    def loss(self, y, batch):
        return super().loss(y, batch) + (y - y).square().sum(1).sqrt()


class OtherUnits(Sound):
    def error(self, y, batch):
        return (y - 10 * batch[1]).norm(dim=1)


class SquaredOffset(Sound):
    def distance(self, y, y2, batch):
        return super().distance(y, y2, batch) + 1


class RelativeDistance(Sound):
    def distance(self, y, y2, batch):
        return super().distance(y, y2, batch) / y.norm(dim=1)


class BlindDistance(Sound):
    def distance(self, y, y2, batch):
        return super().distance(y, y2, batch) * 0


class SelectsTheFirst(Sound):
    def select(self, batch, keep):
        return [t[: keep.sum()] for t in batch]


class SelectsInputsOnly(Sound):
    def select(self, batch, keep):
        return [batch[0], batch[1][keep]]


class BatchLoss(Sound):
    def loss(self, y, batch):
        return super().loss(y, batch) / batch[1].square().mean()


class SelectsInPlace(Sound):
    def select(self, batch, keep):
        batch[0].mul_(2)
        return [t[keep] for t in batch]


class ShowsTheTarget(Sound):
    def inputs(self, batch):
        return {"x": batch[0], "hint": batch[1]}

    def leaves(self, x):
        return (x["x"],)

    def with_leaves(self, x, leaves):
        return {**x, "x": leaves[0]}


class Perturbing(Sound):
    """One way to perturb wrongly, by its name."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def perturb(self, batch, mode, generator=None):
        moved = super().perturb(batch, mode, None if self.fault == "global" else generator)
        (x, target), size, valid = moved.batch, moved.size, moved.valid
        if self.fault == "plain":
            return moved.batch
        if self.fault == "in place":
            batch[0].copy_(x)
        if self.fault == "fewer":
            x, target = x[1:], target[1:]
        if self.fault == "mask":
            valid = valid.float()
        if self.fault == "squared":
            size = size.square()
        if self.fault == "zero":
            size = 0 * size
        if self.fault == "target":
            target = target / 0
        if self.fault == "still":
            x = batch[0]
        return Perturbed([x, target], size, valid)


PERTURBATIONS = {
    "plain": "must return a `Perturbed`, got list|got tuple",
    "in place": r"changes the batch it is given \(at \[0\]\)",
    "fewer": "gives 3 samples for 4",
    "mask": r"must be booleans of shape \(4,\), got torch.float32",
    "squared": "but the leaves change by",
    "zero": "must be a positive number for each of 4",
    "target": "calls valid is not finite",
    "still": "does not change the inputs",
    "global": "different when called again with the same seed",
}


class ForgetsTheLeaves(Sound):
    def with_leaves(self, x, leaves):
        return x


class LeavesInPlace(Sound):
    def with_leaves(self, x, leaves):
        return x.copy_(leaves[0])


class IntegerLeaves(Sound):
    def leaves(self, x):
        return (x.long(),)


class EntriesAsLeaf(Sound):
    """One leaf of all entries, without a word on whose they are."""

    def leaves(self, x):
        return (x.flatten(),)

    def with_leaves(self, x, leaves):
        return leaves[0].view_as(x)


class NoLayouts(Sound):
    def leaf_layouts(self, x):
        return ()


class MeanOfMeans(Metric):
    def __init__(self):
        super().__init__()
        self.mean = MeanMetric()

    def update(self, preds, target):
        self.mean.update((preds - target).square().mean())

    def compute(self):
        return self.mean.compute()


class MetricByBatch(Sound):
    def metrics(self):
        return MetricCollection({"mean": MeanOfMeans()})


class MetricsInADict(Sound):
    def metrics(self):
        return {"mse": MeanSquaredError()}


class NotAFigure(Sound):
    def figures(self, y, batch):
        return {"answers": "drawn"}


class FromPyplot(Sound):
    def figures(self, y, batch):
        from matplotlib import pyplot

        return {"answers": pyplot.figure()}


class NameWithASlash(Sound):
    def figures(self, y, batch):
        return {"a/b": super().figures(y, batch)["answers"]}


class Overwrites(Sound):
    def write(self, y, solution, batch, folder):
        torch.save(y, folder / "answers.pt")


class WritesNothing(Sound):
    def write(self, y, solution, batch, folder):
        pass


class NeedsASolution(Sound):
    def write(self, y, solution, batch, folder):
        (folder / str(solution.n_iter)).touch()


BROKEN = [
    ("per_sample", MeanLoss, r"shape \(4,\), got \(\)"),
    ("per_sample", InfiniteError, "4 of 4 not finite"),
    ("per_sample", NegativeError, "`error` must not be negative, got -"),
    ("per_sample", CountsEntries, r"shape \(12,\), got \(4,\)"),
    ("loss_gradient", DetachedLoss, "`loss` carries no gradient"),
    ("loss_gradient", RootLoss, "gradient of `loss` is not finite"),
    ("error_of_target", OtherUnits, r"`error` of the target is .* more than"),
    ("distance", SquaredOffset, r"`distance\(y, y\)` must be 0, got 1"),
    ("distance", RelativeDistance, r"`distance\(y, y2\)` and `distance\(y2, y\)` differ by"),
    ("distance", BlindDistance, "two different answers is 0"),
    ("select", SelectsTheFirst, r"`loss` of the samples \[1, 2, 3\] changes"),
    ("select", SelectsInputsOnly, "gives a batch of 4"),
    ("select", BatchLoss, "depend on the others"),
    ("select", SelectsInPlace, r"changes the batch it is given \(at \[0\]\)"),
    ("inputs_hide_target", ShowsTheTarget, r"changes with the target \(at \['hint'\]\)"),
    *(("perturb", fault, sentence) for fault, sentence in PERTURBATIONS.items()),
    ("leaves", ForgetsTheLeaves, "must be `new`"),
    ("leaves", LeavesInPlace, "changes the input it is given"),
    ("leaves", IntegerLeaves, "floating-point tensor, got torch.int64"),
    ("leaves", EntriesAsLeaf, "finds 12 samples in leaf 0, .* but the batch has 4"),
    ("leaves", NoLayouts, "in each of 1 leaves, got 0"),
    ("metrics", MetricByBatch, "of one batch and .* in two"),
    ("metrics", MetricsInADict, "`MetricCollection`, got dict"),
    ("figures", NotAFigure, "`matplotlib.figure.Figure`, got str"),
    ("figures", FromPyplot, "made by pyplot"),
    ("figures", NameWithASlash, "'a/b' does not suit a file"),
    ("write", Overwrites, "batch 2 changes answers.pt"),
    ("write", WritesNothing, "batch 1 leaves no file"),
    ("write", NeedsASolution, "AttributeError.*test_objective_checks.py"),
]  # fmt: skip

ALSO = {"IntegerLeaves": {"perturb"}}


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    import matplotlib

    matplotlib.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.parametrize(
    ("name", "make", "sentence"), BROKEN,
    ids=[f"{name}-{getattr(make, '__name__', make)}" for name, make, _ in BROKEN],
)  # fmt: skip
def test_check_names_the_fault_and_no_other_does(name, make, sentence):
    objective = Perturbing(make) if isinstance(make, str) else make()
    with pytest.raises(CheckFailedError) as caught:
        check_objective(objective, batch())
    found = {r.name: r.message for r in caught.value.report.results if r.status == "failed"}
    assert name in found, found
    assert re.search(sentence, found[name]), found[name]
    assert set(found) - {name} <= ALSO.get(type(objective).__name__, set()), found


def test_every_check_is_seen_to_fail():
    assert {name for name, _, _ in BROKEN} == {check.name for check in objective_checks()}


@pytest.mark.parametrize("check", objective_checks())
def test_sound_objective(check):
    check(Sound(), batch())


def test_what_the_objective_does_not_have_is_skipped_with_the_reason():
    report = check_objective(AffineObjective(), batch())
    assert set(report.names("skipped")) == {"metrics", "figures"}
    assert report.names("failed") == []


class Classes(AbstractObjective):
    """Labels, not answers, as target."""

    def inputs(self, batch):
        return batch["x"]

    def n_samples(self, batch):
        return len(batch["x"])

    def target(self, batch):
        return batch["label"]

    def loss(self, y, batch):
        return torch.nn.functional.cross_entropy(y, batch["label"], reduction="none")

    def error(self, y, batch):
        return (y.argmax(1) != batch["label"]).float()

    def distance(self, y, y2, batch):
        return (y - y2).norm(dim=1)


def test_labels_are_no_answers_and_an_answer_is_asked_for():
    given = {"x": torch.randn(4, 3), "label": torch.tensor([0, 1, 2, 0])}
    (check,) = objective_checks(checks=["per_sample"])
    with pytest.raises(unittest.SkipTest, match="give `y=` to the check"):
        check(Classes(), given)
    report = check_objective(Classes(), given, torch.randn(4, 3))
    assert report["error_of_target"].status == "skipped"
    assert report["write"].status == report["select"].status == "passed"


class Misreading(Classes):
    def inputs(self, batch):
        return batch["x"] + batch["label"][:, None]


def test_labels_that_leak_are_found():
    given = {"x": torch.randn(4, 3), "label": torch.tensor([0, 1, 2, 0])}
    with pytest.raises(CheckFailedError, match="changes with the target"):
        check_objective(Misreading(), given, torch.randn(4, 3))
    assert given["label"].tolist() == [0, 1, 2, 0]  # the batch is copied
