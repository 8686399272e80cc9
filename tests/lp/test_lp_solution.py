"""Answers with a dual: what is asked of y must not depend on what else an answer holds."""

import pytest
import torch
from lp.lp_programs import features, program, solvable

from lit_implicit import Equilibrium, Picard
from lit_implicit.probes import jacobian_slopes, worst_pair_slopes
from lit_implicit.probes.derivatives import outside_inference
from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.kkt import kkt
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.primal_dual import LPPrimalDual
from lit_implicit_lp.solution import LPSolution, primal


class OnlyPrimal(LPPrimalDual):
    """The same iteration, whose answer is y alone."""

    def decode(self, z, c):
        return super().decode(z, c).primal


def with_noise(y, generator):
    """An answer of which y is all that counts."""
    noise = [torch.randn(7, generator=generator).double() for _ in range(3)]
    return LPSolution(y, *noise)


def test_loss_error_distance_and_metrics_are_those_of_y(lp_batch, generator):
    objective = LPObjective()
    y = lp_batch.target + torch.randn(len(lp_batch.target), generator=generator)
    answer = with_noise(y, generator)
    for name in ("loss", "error"):
        method = getattr(objective, name)
        assert torch.equal(method(answer, lp_batch), method(y, lp_batch))
    other = with_noise(lp_batch.target, generator)
    assert torch.equal(
        objective.distance(answer, other, lp_batch),
        objective.distance(y, lp_batch.target, lp_batch),
    )
    found = []
    for given in (answer, y):
        metrics = objective.metrics()
        metrics.update(preds=given, target=lp_batch.target, batch=lp_batch)
        found.append(metrics.compute())
    assert found[0] == found[1]
    assert list(objective.figures(answer, lp_batch)) == ["solutions"]


def test_other_answers_are_refused_by_name():
    with pytest.raises(TypeError, match="tensor of all solutions or an `LPSolution`, got tuple"):
        primal((torch.zeros(2), torch.zeros(2)))


@pytest.mark.parametrize("refine", [0, 3])
def test_slopes_by_derivatives_are_those_of_y(lp_batch, refine, generator):
    """Forward sweeps through `decode`, and reverse ones, look at y of an `LPSolution` alone."""
    with outside_inference():
        objective, slopes = LPObjective(), []
        leaves = objective.leaves(objective.inputs(lp_batch))
        d = [1e-2 * torch.randn(leaf.shape, generator=generator).double() for leaf in leaves]
        for operator in (LPPrimalDual("fixed"), OnlyPrimal("fixed")):
            layer = Equilibrium(operator, Picard())
            slopes.append(jacobian_slopes(layer, objective, lp_batch, 12, d, refine=refine))
    assert (slopes[0][-1] > 0).all()
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=0)


def test_derivatives_of_the_iteration_match_differences(lp_batch, generator):
    with outside_inference():
        objective = LPObjective()
        x = objective.inputs(lp_batch)
        d = [torch.randn(leaf.shape, generator=generator).double() for leaf in x.leaves()]
        layer = Equilibrium(LPPrimalDual("fixed"), Picard(max_iter=7, rtol=0.0))
        found = jacobian_slopes(layer, objective, lp_batch, 7, d)[-1]
        step = 1e-7
        ends = []
        for sign in (1, -1):
            moved = [leaf + sign * step * part for leaf, part in zip(x.leaves(), d, strict=True)]
            ends.append(iterate(LPPrimalDual("fixed"), x.with_leaves(moved), 7))
        expected = objective.distance(*ends, lp_batch) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)  # of central differences


def iterate(operator, x, n_iter):
    c = operator.encode(x)
    z = operator.init_state(c)
    for _ in range(n_iter):
        z = operator(z, c)
    return operator.decode(z, c)


def test_worst_pairs_are_those_of_y(lp_batch):
    with outside_inference():
        objective, found = LPObjective(), []
        for operator in (LPPrimalDual("fixed"), OnlyPrimal("fixed")):
            layer = Equilibrium(operator, Picard())
            found.append(worst_pair_slopes(layer, objective, lp_batch, at=[3], n_steps=3))
    assert (found[0] > 0).all()
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)


def test_stop_through_the_verdict_ends_at_optimal_pairs_and_at_certificates():
    endless = program([-1, -1], [[1, -1], [-1, 1]], [1, 1], [False, False], 0, torch.inf)
    impossible = program([1, 1], [[1, 1]], [5], [True], 0, 2)
    programs = [*solvable(3), endless, impossible]
    x = features(*programs)
    solver = Picard(max_iter=50_000, rtol=0.0)
    with torch.no_grad():
        answer, solution = Equilibrium(LPPrimalDual("fixed", tolerance=1e-5), solver)(x)
    assert solution.converged.all()
    found = [LPVerdict(code) for code in verdict(x, x.matrix(), answer, 1e-5).tolist()]
    assert found == [LPVerdict.OPTIMAL] * 3 + [LPVerdict.UNBOUNDED, LPVerdict.INFEASIBLE]
    assert kkt(x, x.matrix(), answer.primal, answer.dual).worst[:3].max() <= 1e-5
    for i, p in list(enumerate(programs))[2:4]:
        with torch.no_grad():
            alone, count = Equilibrium(LPPrimalDual("fixed", tolerance=1e-5), solver)(features(p))
        assert int(count.n_iter) == int(solution.n_iter[i])
        torch.testing.assert_close(alone.primal, answer.primal[x.batch == i], rtol=1e-9, atol=1e-9)
