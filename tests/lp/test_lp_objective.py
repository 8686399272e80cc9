"""Loss, error, perturbations and metrics by hand."""

import csv
from dataclasses import fields

import numpy as np
import pytest
import torch

from lit_implicit.errors import ConfigError
from lit_implicit.objective import Mode
from lit_implicit.solvers import Solution, Status
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.generator import FEATURES, MODES
from lit_implicit_lp.graph import LPGraphs
from lit_implicit_lp.label_arrays import LabelledPrograms
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.oracle import LPOracle, LPStatus
from lit_implicit_lp.problem import LinearProgram


@pytest.fixture(scope="module")
def graphs_by_hand():
    """Two programs: y1 + y2 <= 1 on [0, 1]^2 with target (0, 1), and y = 2 on [-5, 5]."""
    arrays = {
        "c": [-1.0, -2.0, 3.0],
        "lower": [0.0, 0.0, -5.0],
        "upper": [1.0, 1.0, 5.0],
        "b": [1.0, 2.0],
        "is_equality": [False, True],
        "rows": [0, 0, 0],
        "columns": [0, 1, 0],
        "coefficients": [1.0, 1.0, 1.0],
        "target": [0.0, 1.0, 2.0],
        "objective": [-2.0, 6.0],
        "index": [4, 9],
        "degenerate": [False, False],
        "n_variables": [2, 1],
        "n_constraints": [1, 1],
        "n_nonzeros": [2, 1],
    }
    programs = LabelledPrograms({name: np.array(array) for name, array in arrays.items()})
    return LPGraphs(programs, torch.float64)


@pytest.fixture
def by_hand(graphs_by_hand):
    return graphs_by_hand.batch([0, 1])


Y = torch.tensor([3.0, 5.0, 1.5], dtype=torch.float64)


def test_loss_and_error_by_hand(by_hand):
    # Differences (3, 4) and -0.5; norms of the targets 1 and 2.
    assert LPObjective("mse").loss(Y, by_hand).tolist() == pytest.approx([12.5, 0.25])
    assert LPObjective().error(Y, by_hand).tolist() == pytest.approx([5 / 2, 0.5 / 3])
    relative = LPObjective("relative").loss(Y, by_hand).tolist()
    assert relative == pytest.approx([(5 / 2) ** 2, (0.5 / 3) ** 2])
    assert LPObjective().distance(Y, by_hand.target, by_hand).tolist() == pytest.approx([5, 0.5])
    assert LPObjective().n_samples(by_hand) == 2
    assert torch.equal(LPObjective().target(by_hand), by_hand.target)


def test_log_loss_is_that_of_the_batch_in_training_and_of_each_program_else(by_hand):
    objective, y = LPObjective("log"), Y.clone().requires_grad_()
    losses = objective.loss(y, by_hand)
    mean = LPObjective().error(y, by_hand).mean()
    assert losses.mean().item() == pytest.approx(np.log((5 / 2 + 0.5 / 3) / 2))
    (gradient,) = torch.autograd.grad(losses.mean(), y)
    (expected,) = torch.autograd.grad(mean.log(), y)
    torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=0)
    # What validation shows is no function of how programs are put together in batches.
    objective.eval()
    assert objective.loss(Y, by_hand).tolist() == pytest.approx([np.log(5 / 2), np.log(0.5 / 3)])
    solved = objective.loss(by_hand.target, by_hand)
    assert solved.tolist() == pytest.approx([np.log(1e-6)] * 2)


def test_exact_solution_has_no_loss_and_a_finite_gradient(by_hand):
    objective = LPObjective()
    y = by_hand.target.clone().requires_grad_()
    objective.loss(y, by_hand).sum().backward()
    assert (y.grad == 0).all()


def test_metrics_by_hand(by_hand):
    objective = LPObjective()
    metrics = objective.metrics()
    metrics.update(preds=Y, target=by_hand.target, batch=by_hand)
    values = {name: value.item() for name, value in metrics.compute().items()}
    # First: 7 over b = 1, 2 and 4 over the bounds; second: 0.5 from b = 2.
    expected = (np.sqrt(7**2 + 2**2 + 4**2) / 2 + 0.5 / 3) / 2
    assert values["violation"] == pytest.approx(expected)
    # c y = -13 for -2, and 4.5 for 6.
    assert values["objective_gap"] == pytest.approx((11 / 3 + 1.5 / 7) / 2)
    assert values["error_std"] == pytest.approx((5 / 2 - 0.5 / 3) / 2)


def test_metrics_are_means_over_programs_not_over_batches(lp_data):
    objective = LPObjective()
    once, parts = objective.metrics(), objective.metrics()
    whole = lp_data._graphs["test"].batch(range(10))
    once.update(preds=0.5 * whole.target, target=whole.target, batch=whole)
    for indices in (range(7), range(7, 10)):
        batch = lp_data._graphs["test"].batch(indices)
        parts.update(preds=0.5 * batch.target, target=batch.target, batch=batch)
    for name, value in once.compute().items():
        assert parts.compute()[name] == pytest.approx(value.item(), rel=1e-12)


def test_metrics_stay_in_the_precision_of_the_batch(lp_data):
    """Some devices have no float64; and a float32 error of 3 with a spread of 1e-4 has one."""
    programs = lp_data._cache("test").load(10)
    batch = LPGraphs(programs, torch.float32).batch(range(10))
    metrics = LPObjective().metrics()
    y = batch.target * 2
    metrics.update(preds=y, target=batch.target, batch=batch)
    spread = LPObjective().error(y.double(), batch).std(correction=0)
    values = metrics.compute()
    assert {value.dtype for value in values.values()} == {torch.float32}
    assert values["error_std"].item() == pytest.approx(spread.item(), rel=1e-3)


def test_exact_solutions_violate_nothing(lp_batch):
    metrics = LPObjective().metrics()
    metrics.update(preds=lp_batch.target, target=lp_batch.target, batch=lp_batch)
    assert all(value < 1e-9 for value in metrics.compute().values())


def test_inputs_hold_the_programs_data_and_nothing_else(lp_batch):
    x = LPObjective().inputs(lp_batch)
    assert isinstance(x, LPFeatures)
    names = {field.name for field in fields(x)}
    assert names == {
        "c", "lower", "upper", "b", "is_equality", "coefficients", "edge_index", "batch",
        "constraint_batch", "n",
    }  # fmt: skip
    hidden = [lp_batch[name] for name in lp_batch.keys()  # noqa: SIM118
              if name.startswith(("target", "shift", "delta", "valid", "obj"))]  # fmt: skip
    assert len(hidden) == 2 + 3 * 5
    storages = {getattr(x, name).data_ptr() for name in names - {"n"}}
    assert storages.isdisjoint(tensor.data_ptr() for tensor in hidden)


@pytest.mark.parametrize("mode", MODES)
def test_perturbed_batch_is_a_resolved_program(lp_batch, mode):
    objective = LPObjective()
    assert objective.modes[mode] == Mode(aggregate="mean")
    perturbed = objective.perturb(lp_batch, mode)
    assert perturbed.size.tolist() == pytest.approx([1e-4] * 5, rel=1e-12)
    assert perturbed.valid.dtype == torch.bool
    x, moved = objective.inputs(lp_batch), objective.inputs(perturbed.batch)
    for name in ("c", "lower", "upper", "b", "coefficients", "edge_index"):
        assert torch.equal(getattr(x, name), getattr(moved, name)) == (name != FEATURES[mode])
    assert not [k for k in perturbed.batch.keys() if k.startswith("shift")]  # noqa: SIM118
    oracle = LPOracle()
    for number in range(5):
        if not perturbed.valid[number]:
            continue
        variables, constraints = moved.batch == number, moved.constraint_batch == number
        edges = constraints[moved.edge_index[0]]
        rows, columns = moved.edge_index[:, edges].numpy()
        program = LinearProgram(
            moved.c[variables].numpy(),
            rows - rows.min(),
            columns - int(variables.nonzero()[0]),
            moved.coefficients[edges].numpy(),
            moved.b[constraints].numpy(),
            moved.is_equality[constraints].numpy(),
            moved.lower[variables].numpy(),
            moved.upper[variables].numpy(),
        )
        assert rows.min() == int(constraints.nonzero()[0])
        answer = oracle.solve(program)
        assert answer.status is LPStatus.OPTIMAL
        # The stored shift adds up to the new solution but for rounding of numbers of size 30.
        expected = perturbed.batch.target[variables].numpy()
        assert answer.y == pytest.approx(expected, abs=1e-9)


def test_perturbation_keeps_its_digits_in_single_precision(lp_data):
    programs = lp_data._cache("test").load(10)
    batch = LPGraphs(programs, torch.float32).batch(range(10))
    assert batch.lower.dtype == torch.float32
    perturbed = LPObjective().perturb(batch, "l")
    assert perturbed.batch.lower.dtype == torch.float64
    moved = perturbed.batch.lower - batch.lower
    assert torch.allclose(moved, batch.delta_l.double(), rtol=1e-6, atol=1e-14)
    assert perturbed.size.tolist() == pytest.approx([1e-4] * 10, rel=1e-6)


def test_perturbing_leaves_the_batch_as_it_was(lp_batch):
    before = {name: value.clone() for name, value in lp_batch.to_dict().items()
              if isinstance(value, torch.Tensor)}  # fmt: skip
    LPObjective().perturb(lp_batch, "b")
    for name, value in before.items():
        assert torch.equal(lp_batch[name], value)


def test_batch_without_perturbations_says_what_to_set(by_hand):
    with pytest.raises(ConfigError, match=r"`data\.perturb_splits` .* `data\.perturb_modes`"):
        LPObjective().perturb(by_hand, "c")


def test_unknown_mode_and_loss_are_named(by_hand):
    with pytest.raises(KeyError, match="no mode 'x'; known"):
        LPObjective().perturb(by_hand, "x")
    with pytest.raises(ValueError, match=r"`LPObjective\.loss` must be 'mse', 'relative' or 'log'"):
        LPObjective("mae")


def test_figure_shows_some_programs(lp_batch, tmp_path):
    figures = LPObjective().figures(0.9 * lp_batch.target, lp_batch)
    figure = figures["solutions"]
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith(f"LP {lp_batch.index[0]}, error 0.")
    figure.savefig(tmp_path / "solutions.png")


def test_predictions_are_written_per_program_and_per_variable(graphs_by_hand, tmp_path):
    counts = torch.tensor([3, 7])
    status = torch.tensor([Status.CONVERGED, Status.MAX_ITER])
    solution = Solution(Y[:, None], counts, counts, torch.tensor([1e-5, 0.5]), status)
    LPObjective().write(Y, solution, graphs_by_hand.batch([0, 1]), tmp_path / "new")
    LPObjective().write(Y[2:], None, graphs_by_hand.batch([1]), tmp_path / "new")

    def read(name):
        with (tmp_path / "new" / name).open() as file:
            return list(csv.DictReader(file))

    first, second = read("programs_000004.csv")
    assert (first["index"], second["index"]) == ("4", "9")
    assert (first["n_iter"], first["status"]) == ("3", "CONVERGED")
    assert second["status"] == "MAX_ITER"
    assert float(first["error"]) == pytest.approx(2.5)
    assert float(first["objective"]) == pytest.approx(-13)
    assert float(first["optimal_objective"]) == pytest.approx(-2)
    assert float(second["violation"]) == pytest.approx(0.5 / 3)
    rows = read("solutions_000004.csv")
    assert [(r["index"], r["variable"]) for r in rows] == [("4", "0"), ("4", "1"), ("9", "0")]
    assert [float(r["predicted"]) for r in rows] == Y.tolist()
    assert "status" not in read("programs_000009.csv")[0]
    assert len(read("solutions_000009.csv")) == 1
