"""What a rule sees, column by column, and the inverse hyperbolic sine that it sees it through."""

import torch
from lp.lp_programs import vector
from torch.func import jvp, vmap

from lit_implicit_lp.fast_asinh import asinh
from lit_implicit_lp.step_rules import StepRule


def test_a_rule_sees_its_features_in_a_fixed_order(generator):
    """Checkpoints depend on it: fixed, then each vanishing one at all scales, level, the rest."""
    rule = StepRule(2, 3, 4, 4, 5, 6).double()
    for parameter in rule.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    fixed, vanishing, messages, embedded = (
        torch.randn(k, 7, dtype=torch.float64, generator=generator) for k in (2, 3, 4, 5)
    )
    level, trust = vanishing[0].abs() + 0.1, vector(0, 0.2, 0.4, 0.6, 0.8, 0.9, 1)
    found = rule(fixed, vanishing, level, messages.T, embedded.T, trust)
    for i in range(7):
        columns = [*fixed[:, i]]
        for value in vanishing[:, i]:
            sizes = (1, torch.tensor(30.0).asinh(), torch.tensor(1000.0).asinh(), 1)
            scales = (1, 30, 1000, 1 / level[i])
            columns += [(value * k).asinh() / s for k, s in zip(scales, sizes, strict=True)]
        seen = torch.stack([*columns, level[i].log() / 5, *messages[:, i] / 3, *embedded[:, i]])
        factor, momentum, correction, *sent = rule.network(seen)
        t = trust[i]
        assert torch.allclose(found.factor[i], (t * 3 * (factor / 3).tanh()).exp(), rtol=1e-6)
        assert torch.allclose(found.momentum[i], t * momentum.tanh(), rtol=1e-6)
        moved = t * 3 * (level[i] - 1e-6) * correction.tanh()  # at rest, nothing
        assert torch.allclose(found.correction[i], moved, rtol=1e-6)
        assert torch.allclose(found.messages[i], torch.stack(sent), rtol=1e-6)


def test_asinh_is_that_of_torch_with_its_derivatives():
    sizes = torch.logspace(-12, 17, 200, dtype=torch.float64)
    wide = torch.cat([-sizes, torch.zeros(1, dtype=torch.float64), sizes]).requires_grad_()
    x = wide.detach().float().requires_grad_()
    # One rounding of 1 + |x| and one of the result.
    assert torch.allclose(asinh(x).double(), wide.asinh(), rtol=3e-7, atol=3e-7)
    (slope,) = torch.autograd.grad(asinh(x).sum(), x, create_graph=True)
    (exact,) = torch.autograd.grad(wide.asinh().sum(), wide, create_graph=True)
    assert torch.allclose(slope.double(), exact, rtol=1e-6, atol=0)
    assert slope[200] == 1  # at 0
    curvature = torch.autograd.grad(slope.sum(), x)[0].double()
    assert torch.allclose(curvature, torch.autograd.grad(exact.sum(), wide)[0], atol=1e-6)
    ones = torch.ones_like(x)
    assert torch.equal(jvp(asinh, (x,), (ones,))[1], slope)
    assert torch.equal(vmap(asinh)(x[:, None])[:, 0], asinh(x))


def test_asinh_lets_nothing_pass_that_is_no_number():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 3e38])
    found = asinh(x)
    assert found[0].isnan()
    assert found[1] == -found[2] == found[3] > 40  # as of 1e18
    assert torch.equal(asinh(vector(-1, 2)), vector(-1, 2).asinh())  # float64: torch's own
