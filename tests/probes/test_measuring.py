"""The measurements as plain functions: z = w z + x from 0 has y_t = (1 - w^t) / (1 - w) x."""

import pytest
import torch
from affine_task import AffineObjective, AffineOperator

from lit_implicit import Anderson, Equilibrium, Picard
from lit_implicit.errors import NoSamplesError
from lit_implicit.probes import (
    audit,
    measure_lipschitz_curve,
    measure_regularity,
    measure_test_time_curve,
)

W, T = 0.5, 6
GAIN = (1 - W ** torch.arange(T + 1).double()) / (1 - W)
OBJECTIVE = AffineObjective()


def layer():
    return Equilibrium(AffineOperator(W).double(), Picard(rtol=0.5, max_iter=2))


def batches():
    """A generator, as a loader is: it can be run through once."""
    for seed in range(2):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).double()
        yield x, 2 * x


def test_curves_are_those_of_all_batches():
    norm = torch.cat([x for x, _ in batches()]).norm(dim=1).mean()
    curve = measure_test_time_curve(layer(), OBJECTIVE, batches(), T, rtol=0.1)
    assert torch.allclose(curve.error_mean, (2 - GAIN) * norm)
    assert (curve.n_samples, curve.rtol) == (10, 0.1)
    damped = measure_test_time_curve(layer(), OBJECTIVE, batches(), T, Picard(0.5))
    # The damped factor is (1 + w) / 2.
    assert torch.allclose(damped.error_mean, 2 * norm * 0.75 ** torch.arange(T + 1).double())
    slopes = measure_lipschitz_curve(
        layer(), OBJECTIVE, batches(), T, estimators=("pairs", "jacobian")
    )
    assert torch.allclose(slopes.slopes["input"], GAIN, rtol=1e-9)
    assert torch.allclose(slopes.jacobian["input"], GAIN, rtol=1e-9)
    assert slopes.n_samples == {"input": 10}


def test_regularity_and_audit_are_those_of_all_batches():
    report = measure_regularity(layer(), OBJECTIVE, batches(), max_samples=7)
    assert torch.allclose(report.factor, torch.full((7,), W).double())
    assert report.slope_at_fixed_point.tolist() == pytest.approx([1.0] * 7)
    found = audit(layer(), OBJECTIVE, batches(), 5, Anderson(), factor=4)
    assert (found.n_samples, found.n_iter, found.is_equilibrium) == (10, 20, True)


@pytest.mark.parametrize(
    "measure", [measure_test_time_curve, measure_lipschitz_curve, audit, measure_regularity]
)
def test_no_batch_is_said(measure):
    arguments = () if measure is measure_regularity else (5,)
    with pytest.warns(UserWarning, match="before"), pytest.raises(NoSamplesError):
        measure(layer(), OBJECTIVE, [], *arguments)
