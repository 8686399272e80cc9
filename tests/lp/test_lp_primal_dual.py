"""`LPPrimalDual`: what its fixed points are, what never grows, and what it is without learning."""

import numpy as np
import pytest
import torch
from lp.lp_programs import features, optimal_pair, program, solvable
from lp.netlib import OPTIMAL, netlib

from lit_implicit import Equilibrium, Picard
from lit_implicit.testing import operator_checks
from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.mps_graphs import MPSGraphs
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.primal_dual import LPPrimalDual
from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.units import Units

STEPS = ("fixed", "data", "state")


def learned(steps, seed=0, size=0.3, **more):
    """An operator with weights as training might leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        operator = LPPrimalDual(steps, width=8, embedding=4, messages=3, **more).double()
    with torch.no_grad():
        for weight in operator.parameters():
            weight += size * torch.randn(weight.shape, generator=generator).double()
    return operator


def optimal_state(operator, c, y, dual):
    """The state that rests at an optimal pair."""
    values = torch.cat([y / c.primal, dual / c.dual])
    zeros = torch.zeros_like(values)
    columns = [values, zeros, zeros, values]
    return torch.stack(columns[: operator.init_state(c).shape[1]], dim=-1)


@pytest.mark.parametrize("check", operator_checks())
@pytest.mark.parametrize("steps", STEPS)
def test_it_is_an_operator(steps, check, lp_batch):
    if steps == "fixed" and check.__name__ == "derivative":
        pytest.skip("there is nothing to train")
    x = LPFeatures.of(lp_batch)
    check(learned(steps), x, select_x=LPFeatures.select, objective=LPObjective())


@pytest.mark.parametrize("rounds", [0, 10])
@pytest.mark.parametrize("steps", STEPS)
def test_optimal_pairs_are_fixed_points_whatever_is_learned(steps, rounds):
    programs = solvable(4)
    x, (y, dual) = features(*programs), optimal_pair(*programs)
    operator = learned(steps, scaling_rounds=rounds)
    c = operator.encode(x)
    z = optimal_state(operator, c, y, dual)
    # HiGHS's pairs are optimal up to 1e-10, in units where costs are 0.01.
    torch.testing.assert_close(operator(z, c), z, rtol=0, atol=1e-7)
    if steps == "state":  # and while the rules still count, they do not move it
        z[:, 2] = 1
        torch.testing.assert_close(operator(z, c)[:, 0], z[:, 0], rtol=0, atol=1e-6)
    answer = operator.decode(z, c)
    torch.testing.assert_close(answer.primal, y, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(answer.dual, dual, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", ["fixed", "data", pytest.param("state", marks=pytest.mark.slow)])
def test_iteration_ends_at_the_optimum_whatever_is_learned(steps):
    programs = solvable(4)
    x, (y, _) = features(*programs), optimal_pair(*programs)
    # Wilder rules send the iterate beyond what a solver takes for divergence, before they fade.
    operator = learned(steps, size=0.1, tolerance=1e-9).eval()
    with torch.no_grad():
        layer = Equilibrium(operator, Picard(max_iter=40_000, rtol=0.0))
        answer, solution = layer(x)
    assert solution.converged.all()
    assert kkt(x, x.matrix(), answer.primal, answer.dual).worst.max() <= 1e-9
    # The condition of the optimal bases stands between residual and error.
    torch.testing.assert_close(answer.primal, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", ["fixed", "data"])
def test_steps_by_data_are_nonexpansive_in_their_metric(steps, lp_batch, generator):
    operator = learned(steps, size=1.0)
    with torch.no_grad():
        c = operator.encode(LPFeatures.of(lp_batch))
        z = operator.init_state(c)
        for scale in (0.1, 1.0, 10.0):
            a, b = (z + scale * torch.randn(z.shape, generator=generator).double() for _ in "ab")
            before = operator.metric_norm(a - b, c)
            after = operator.metric_norm(operator(a, c) - operator(b, c), c)
            assert (after <= before * (1 + 1e-12)).all()
        last = torch.full((lp_batch.num_graphs,), torch.inf)
        for _ in range(1000):
            gz = operator(z, c)
            residual = operator.metric_norm(gz - z, c)
            # Rounding: values of order one, residuals that reach it.
            assert (residual <= last * (1 + 1e-9) + 1e-13).all()
            z, last = gz, residual


def test_metric_is_that_of_the_step_sizes(lp_batch, generator):
    operator = learned("data")
    c = operator.encode(LPFeatures.of(lp_batch))
    p = c.programs
    d = torch.randn(operator.init_state(c).shape, generator=generator).double()
    n = len(p.tau)
    dense = torch.zeros(len(p.sigma), n, dtype=torch.float64)
    dense.index_put_((p.x.edge_index[0], p.x.edge_index[1]), p.x.coefficients, accumulate=True)
    m = torch.diag(torch.cat([1 / p.tau, 1 / p.sigma]))
    m[n:, :n], m[:n, n:] = -dense, -dense.T
    expected = d[:, 0] * (m @ d[:, 0])
    squares = torch.zeros(p.x.n).double().index_add(0, operator.layout(d, c).index, expected)
    torch.testing.assert_close(operator.metric_norm(d, c) ** 2, squares, rtol=1e-10, atol=1e-10)
    assert torch.linalg.eigvalsh(m).min() >= -1e-12


def test_fixed_steps_are_pdhg_with_diagonal_preconditioning(lp_batch):
    """Against a dense loop in numpy, in the programs' own units."""
    operator = LPPrimalDual("fixed")
    x = LPFeatures.of(lp_batch)
    c = operator.encode(x)
    z = operator.init_state(c)
    for _ in range(3):
        z = operator(z, c)
    answer = operator.decode(z, c)
    for i in range(x.n):
        mine, rows = (x.batch == i).numpy(), (x.constraint_batch == i).numpy()
        a = np.zeros((len(rows), len(mine)))
        np.add.at(a, tuple(x.edge_index.numpy()), x.coefficients.numpy())
        a = a[np.ix_(rows, mine)]
        cost, low, up = (t.numpy()[mine] for t in (x.c, x.lower, x.upper))
        b, equal = x.b.numpy()[rows], x.is_equality.numpy()[rows] > 0
        size = np.sqrt(np.mean(np.concatenate([low, up]) ** 2))
        weight = np.sqrt(np.mean(cost**2)) / size
        tau = 1 / np.maximum(np.abs(a).sum(0), 1e-3) / weight
        sigma = 1 / np.maximum(np.abs(a).sum(1), 1e-3) * weight
        y, dual = np.clip(np.zeros(mine.sum()), low, up), np.zeros(rows.sum())
        for _ in range(6):
            new_y = np.clip(y - tau * (cost + a.T @ dual), low, up)
            new_dual = dual + sigma * (a @ (2 * new_y - y) - b)
            new_dual = np.where(equal, new_dual, np.maximum(new_dual, 0))
            y_step, dual_step = new_y - y, new_dual - dual
            y, dual = y + 1.5 * y_step, dual + 1.5 * dual_step
        np.testing.assert_allclose(answer.primal.numpy()[mine], new_y, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(answer.dual.numpy()[rows], new_dual, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(answer.primal_step.numpy()[mine], y_step, atol=1e-10)
        np.testing.assert_allclose(answer.dual_step.numpy()[rows], dual_step, atol=1e-12)


@pytest.mark.parametrize("steps", STEPS)
def test_one_iteration_is_four_sweeps(steps, lp_batch, monkeypatch):
    operator, counted = learned(steps), []
    c = operator.encode(LPFeatures.of(lp_batch))
    z, product = operator.init_state(c), SparseMatrix.__matmul__

    def count(matrix, x):
        counted.append(x.shape[1])
        return product(matrix, x)

    monkeypatch.setattr(SparseMatrix, "__matmul__", count)
    operator(z, c)
    assert len(counted) == 4


def test_parameters_are_fewer_than_the_papers_largest():
    assert sum(p.numel() for p in LPPrimalDual().parameters()) == 13_888 < 31_606


def test_without_trust_steps_are_those_of_the_data(lp_batch):
    """What is learned of the iterate fades, and what remains is the operator of `data`."""
    state, data = learned("state"), learned("data")
    data.load_state_dict({k: v for k, v in state.state_dict().items() if k in data.state_dict()})
    x = LPFeatures.of(lp_batch)
    with torch.no_grad():
        c = state.encode(x)
        z = state.init_state(c)
        for _ in range(3):
            z = state(z, c)
        assert torch.allclose(z[:, 2], torch.full_like(z[:, 2], 0.99**3))
        faded = torch.cat([z[:, :2], torch.zeros_like(z[:, :1]), z[:, 3:]], dim=-1)
        torch.testing.assert_close(state(faded, c)[:, :2], data(z[:, :2], data.encode(x)))
        assert not torch.allclose(state(z, c)[:, :2], state(faded, c)[:, :2], atol=1e-3)


def test_untrained_rules_decide_nothing(lp_batch):
    x = LPFeatures.of(lp_batch)
    with torch.no_grad():
        ends = []
        for operator in (LPPrimalDual("state").double(), LPPrimalDual("data").double()):
            c = operator.encode(x)
            ends.append(operator(operator.init_state(c), c)[:, :2])
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_cut_gradients_are_those_of_rules_that_see_no_state(lp_batch):
    """In training alone, and the values are the same."""
    x = LPFeatures.of(lp_batch)
    ends, gradients = [], []
    for cut, training in ((True, True), (True, False), (False, True)):
        operator = learned("state", state_gradient=not cut).train(training)
        c = operator.encode(x)
        z = operator.init_state(c).requires_grad_()
        gz = operator(operator(z, c), c)
        (gradient,) = torch.autograd.grad(gz[:, 0].sum(), z)
        ends.append(gz.detach())
        gradients.append(gradient)
    torch.testing.assert_close(ends[0], ends[2], rtol=0, atol=0)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-2)


def test_units_are_robust_against_costs_that_mean_never():
    programs = solvable(3)
    x = features(*programs)
    expected = [np.sqrt(np.mean(p.c**2)) for p in programs]
    units = Units.of(x, 0, torch.float64)
    np.testing.assert_allclose(
        [float(units.dual[x.constraint_batch == i][0]) for i in range(3)], expected, rtol=1e-12
    )
    never = x.c.clone()
    first = [int((x.batch == i).nonzero()[0]) for i in range(3)]
    never[first] = 1e9
    moved = x.with_leaves([never, *x.leaves()[1:]])
    units = Units.of(moved, 0, torch.float64)
    for i, p in enumerate(programs):
        cost = np.abs(never[x.batch == i].numpy())
        level = 100 * np.sort(cost[cost > 0])[(len(cost) - 1) // 2]
        expected = np.sqrt(np.mean(np.minimum(cost, level) ** 2))
        assert float(units.dual[x.constraint_batch == i][0]) == pytest.approx(expected)
        assert p.n_variables == len(cost)


def test_programs_without_bounds_costs_or_constraints_have_units_of_one():
    feasibility = program([0, 0], [[1, 1]], [0], [True], -torch.inf, torch.inf)
    free = program([1, 1], np.zeros((0, 2)), [], [], 0, 1)
    units = Units.of(features(feasibility, free), 0, torch.float64)
    assert units.primal[:2].tolist() == [1, 1]
    assert units.dual.tolist() == [1]
    with torch.no_grad():
        x = features(free)
        operator = LPPrimalDual("fixed")
        answer, solution = Equilibrium(operator, Picard(rtol=0.0))(x)
    assert solution.converged.all()
    assert answer.primal.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "expected", "budget"),
    [
        ("afiro", LPVerdict.OPTIMAL, 2000),
        ("galenet", LPVerdict.INFEASIBLE, 100),
        ("gas11", LPVerdict.UNBOUNDED, 4000),
        pytest.param("adlittle", LPVerdict.OPTIMAL, 40_000, marks=pytest.mark.slow),
    ],
)
def test_netlib_programs_end_with_their_status(name, expected, budget):
    batch = MPSGraphs.read([str(netlib(name)[0])], torch.float64)[0]
    x = LPFeatures.of(batch)
    operator = LPPrimalDual("fixed", scaling_rounds=10)
    with torch.no_grad():
        solver = Picard(rtol=0.0, max_iter=budget // 2)  # an iteration is two steps
        answer, solution = Equilibrium(operator, solver)(x)
    assert solution.converged.all()
    assert LPVerdict(int(verdict(x, x.matrix(), answer))) is expected
    if expected is LPVerdict.OPTIMAL:
        value = batch.files[0].objective(answer.primal.numpy())
        assert value == pytest.approx(OPTIMAL[name], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "x"}, "`LPPrimalDual.steps` must be 'fixed', 'data' or 'state', got 'x'"),
        ({"width": 0}, "`LPPrimalDual.width` must be at least 1, got 0"),
        ({"stop_every": 0}, "`LPPrimalDual.stop_every` must be at least 1, got 0"),
        ({"decay": 1.0}, r"`LPPrimalDual.decay` must lie in \(0, 1\), got 1.0"),
        ({"scaling_rounds": -1}, "`LPPrimalDual.scaling_rounds` must be at least 0, got -1"),
        ({"tolerance": 0.0}, r"`LPPrimalDual.tolerance` must lie in \(0, 1\), got 0.0; None"),
    ],
)
def test_bad_argument_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        LPPrimalDual(**changes)


def test_huge_bounds_stand_for_none():
    x = features(program([1, 1], [[1, 1]], [2], [True], [0, 0], [1e9, 5]))
    with torch.no_grad():
        answer, solution = Equilibrium(LPPrimalDual("fixed"), Picard(rtol=0.0, max_iter=1000))(x)
    assert solution.converged.all()
    assert float(answer.primal.sum()) == pytest.approx(2, abs=1e-3)


def test_without_a_tolerance_nothing_is_computed_for_certificates(lp_batch, monkeypatch):
    x, none = LPFeatures.of(lp_batch), LPPrimalDual("fixed", tolerance=None)

    def refuse(*args):
        raise AssertionError("norms of rows and columns are for certificates alone")

    with monkeypatch.context() as patched:
        patched.setattr(Lengths, "of", refuse)
        c = none.encode(x)
        with pytest.raises(AssertionError, match="for certificates alone"):
            LPPrimalDual("fixed").encode(x)
    z = none.init_state(c)
    assert none.stop(z, none(z, c), c) is None
    keep = torch.tensor([True, False, True, True, False])
    kept = none.select(c, keep)
    assert torch.equal(
        none(none.init_state(kept), kept), none.layout(z, c).select(none(z, c), keep)
    )


def test_stops_only_where_a_certificate_says_so(lp_batch):
    """Converged means solved, where the solver has no tolerance of its own."""
    x = LPFeatures.of(lp_batch)
    with torch.no_grad():
        solver = Picard(rtol=0.0, max_iter=2000)
        answer, solution = Equilibrium(learned("state", size=0.1), solver)(x)
    worst = kkt(x, x.matrix(), answer.primal, answer.dual).worst
    assert solution.converged.any()
    assert (worst[solution.converged] <= 1e-4).all()
    assert ((solution.n_iter % 4 == 0) | ~solution.converged).all()
