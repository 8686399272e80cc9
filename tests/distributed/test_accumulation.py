"""Gradients of half batches, accumulated, make the step of the whole batch."""

import pytest
import torch
from affine_task import AffineObjective
from two_ranks import Rates, dealt, fit, make_module, samples

from lit_implicit import Anderson, Equilibrium, Implicit

START = Rates().a.detach()
FAST = Anderson(rtol=1e-13, max_iter=500)


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
def test_accumulated_half_batches_are_whole_batches():
    whole, _, _ = fit(dealt(samples(20), 4), FAST)
    halves, counts, _ = fit(dealt(samples(20), 2), FAST, accumulate_grad_batches=2)
    assert len(counts) == 10
    error = (halves - whole).norm() / (whole - START).norm()
    assert error < 1e-9, error
    assert (whole - START).norm() > 0.05


def test_with_failed_samples_each_half_batch_has_half_of_the_weight():
    """As docs/distributed.md says: the mean is over the sound samples of each half batch."""
    (x, y) = samples(4, failing=[1]).tensors

    def gradient(keep):
        operator = Rates()
        answer, _ = Equilibrium(operator, FAST, Implicit())(x[keep])
        loss = AffineObjective().loss(answer, (x[keep], y[keep])).mean()
        return torch.autograd.grad(loss, operator.a)[0]

    found = []
    for halves in ([[0, 1], [2, 3]], [[0, 1, 2, 3]]):
        module = make_module(solver=FAST)
        module.log = lambda *args, **kwargs: None  # no trainer
        for part in halves:
            step = module.training_step((x[part], y[part]), 0)
            (step["loss"] / len(halves)).backward()
        found.append(module.operator.a.grad)
    expected = [(gradient([0]) + gradient([2, 3])) / 2, gradient([0, 2, 3])]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert (expected[0] - expected[1]).norm() > 0.01 * expected[1].norm()  # and so they differ
