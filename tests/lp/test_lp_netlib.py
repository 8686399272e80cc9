"""Netlib programs end with their known status, and the optimal ones with their known value."""

import pytest
import torch
from lp.netlib import OPTIMAL, netlib

from lit_implicit import Equilibrium, Picard
from lit_implicit_lp.certificate import LPVerdict, verdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.mps_graphs import MPSGraphs
from lit_implicit_lp.primal_dual import LPPrimalDual


@pytest.mark.parametrize(
    ("name", "expected", "budget"),
    [
        ("afiro", LPVerdict.OPTIMAL, 2000),
        ("galenet", LPVerdict.INFEASIBLE, 100),
        ("gas11", LPVerdict.UNBOUNDED, 4000),
        *(
            pytest.param(name, expected, 40_000, marks=pytest.mark.slow)
            for name, expected in (
                ("adlittle", LPVerdict.OPTIMAL),
                ("e226", LPVerdict.OPTIMAL),
                ("etamacro", LPVerdict.OPTIMAL),
                ("israel", LPVerdict.OPTIMAL),
                ("klein1", LPVerdict.INFEASIBLE),
                ("standata", LPVerdict.OPTIMAL),
            )
        ),
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
        # A relative gap of 1e-4 is no bound of the error: that of etamacro is the largest.
        assert value == pytest.approx(OPTIMAL[name], rel=3e-3)
