"""Units of programs by hand, of outliers among costs, and of programs that have no size."""

import numpy as np
import pytest
import torch
from lp.lp_programs import features, program, solvable

from lit_implicit import Equilibrium, Picard
from lit_implicit_lp.primal_dual import LPPrimalDual
from lit_implicit_lp.units import Units


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
