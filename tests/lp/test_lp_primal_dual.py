"""`LPPrimalDual`: what its fixed points are, what never grows, and what it is without learning."""

import pytest
import torch
from lp.lp_learned import learned, optimal_state
from lp.lp_programs import features, optimal_pair, program, solvable

from lit_implicit import Equilibrium, Picard
from lit_implicit.testing import operator_checks
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.primal_dual import LPPrimalDual
from lit_implicit_lp.sparse import SparseMatrix

STEPS = ("fixed", "data", "state")


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


def test_cut_gradients_are_those_of_rules_that_are_blind_to_the_iterate(lp_batch):
    """Against an operator that is not cut, unrolled, whose rules are made blind one by one."""
    x = LPFeatures.of(lp_batch)

    def blind_rule(rule, args):
        fixed, vanishing, level, messages, embedded, trust = args
        # Messages are learned too: what they carry of the iterate is cut where it is announced.
        return fixed.detach(), vanishing.detach(), level.detach(), messages, embedded, trust

    def blind_announcement(layer, args):
        embedded, duals = args[0].split([layer.in_features - 3, 3], dim=-1)
        return torch.cat([embedded, duals.detach()], dim=-1)

    def gradients(operator, training):
        operator.train(training)
        c = operator.encode(x)
        start = operator.init_state(c).requires_grad_()
        z = start
        for _ in range(6):
            z = operator(z, c)
        loss = (operator.decode(z, c).primal - lp_batch.target).square().sum()
        return [loss.detach(), *torch.autograd.grad(loss, [start, *operator.parameters()])]

    cut = gradients(learned("state", size=0.1, state_gradient=False), True)
    evaluated = gradients(learned("state", size=0.1, state_gradient=False), False)
    whole = gradients(learned("state", size=0.1), True)
    blind = learned("state", size=0.1)
    for half in blind.halves:
        half.announce.register_forward_pre_hook(blind_announcement)
        for rule in (half.variable_rule, half.constraint_rule):
            rule.register_forward_pre_hook(blind_rule)
    by_hand = gradients(blind, True)
    for one, other in zip(cut, by_hand, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))
    # The value is that of the whole map, and in evaluation so are the derivatives.
    assert cut[0] == whole[0]
    for one, other in zip(evaluated, whole, strict=True):
        assert torch.equal(one, other)
    assert not torch.allclose(cut[1], whole[1], rtol=1e-2)


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
        solver = Picard(rtol=0.0, max_iter=300)
        answer, solution = Equilibrium(learned("state", size=0.05), solver)(x)
    worst = kkt(x, x.matrix(), answer.primal, answer.dual).worst
    assert solution.converged.any()
    assert (worst[solution.converged] <= 1e-4).all()
    assert ((solution.n_iter % 4 == 0) | ~solution.converged).all()
