import inspect
from typing import Any

import broken_operators as broken
import pytest
import torch
from torch import nn

from lit_implicit import AbstractOperator, Equilibrium, FixedPointMap, Implicit, Picard
from lit_implicit.errors import OperatorError


class Widening(AbstractOperator):
    def init_state(self, c, generator=None):
        return torch.zeros(2, 3)

    def forward(self, z, c):
        return torch.cat([z, z], dim=1)


class Halving(Widening):
    def forward(self, z, c):
        return (z + 1).bfloat16()


def test_a_change_of_shape_names_operator_and_both_shapes():
    with pytest.raises(OperatorError, match=r"Widening.*expected \(2, 3\), got \(2, 6\)"):
        Equilibrium(Widening(), Picard())(None)


def test_a_change_of_dtype_is_refused_outside_autocast_and_cast_back_inside():
    layer = Equilibrium(Halving(), Picard(max_iter=2))
    with pytest.raises(OperatorError, match=r"expected torch.float32, got torch.bfloat16"):
        layer(None)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        z, _ = layer(None)
    assert z.dtype == torch.float32
    assert z.eq(2).all()


def test_map_selects_context_and_layout_together():
    class Shift(AbstractOperator):
        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            return z + c

    operator, c = Shift(), torch.tensor([[1.0], [2.0]])
    g = FixedPointMap(operator, c, operator.layout(c, c))
    part = g.select(torch.tensor([False, True]))
    assert part.layout.n == 1
    assert part(torch.zeros(1, 1)).tolist() == [[2.0]]


def test_the_state_stays_accurate_where_autocast_makes_the_context_half():
    class Encoded(AbstractOperator):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(3, 3)

        def encode(self, x):
            return self.embed(x)

        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            return 0.5 * z + c

    layer, x = Equilibrium(Encoded(), Picard(rtol=1e-6, max_iter=100)), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        z, solution = layer(x)
    assert z.dtype == torch.float32
    assert solution.converged.all()
    z.sum().backward()
    assert layer.operator.embed.weight.grad.isfinite().all()


class Holding(AbstractOperator):
    """A module inside G, or only in `encode`."""

    def __init__(self, module, inside=True):
        super().__init__()
        self.module, self.inside = module, inside

    def encode(self, x):
        return x if self.inside else self.module(x)

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        return 0.5 * (self.module(z) if self.inside else z) + c


@pytest.mark.parametrize("module", [nn.BatchNorm1d(3), nn.Dropout(0.1)], ids=["norm", "dropout"])
def test_modules_that_change_from_call_to_call_are_refused_in_g(module):
    x = torch.randn(4, 3)
    layer = Equilibrium(Holding(module), Picard())
    with pytest.raises(OperatorError, match=r"Holding.forward. calls \w+ in training mode"):
        layer.train()(x)
    layer.eval()(x)  # frozen, they are functions like any other
    Equilibrium(Holding(module, inside=False), Picard()).train()(x)
    assert not module._forward_pre_hooks  # nothing stays behind


def test_a_spectral_norm_takes_one_power_step_per_solve():
    class Normed(AbstractOperator):
        def __init__(self):
            super().__init__()
            self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3).double())
            self.weights = []

        def init_state(self, c, generator=None):
            return torch.zeros_like(c)

        def forward(self, z, c):
            self.weights.append(self.linear.weight.detach().clone())
            return 0.5 * self.linear(z) + c

    torch.manual_seed(0)
    operator = Normed()
    norm = operator.linear.parametrizations.weight[0]
    before = norm._u.clone()
    y, solution = Equilibrium(operator, Picard(rtol=1e-12, max_iter=60), Implicit())(
        torch.randn(2, 3).double()
    )
    # Without it, G drifts and the residual cannot fall below the drift.
    assert solution.converged.all()
    assert all(torch.equal(w, operator.weights[0]) for w in operator.weights)
    assert norm.training
    assert not torch.equal(norm._u, before)
    y.sum().backward()
    assert operator.linear.parametrizations.weight.original.grad.abs().sum() > 0
    operator.eval()
    before = norm._u.clone()
    Equilibrium(operator, Picard())(torch.randn(2, 3).double())
    assert not norm.training
    assert torch.equal(norm._u, before)


class BrokenPart(nn.Module):
    """A parametrization that works once, when it is registered."""

    def __init__(self):
        super().__init__()
        self.n_calls = 0

    def forward(self, weight):
        self.n_calls += 1
        if self.n_calls > 1:
            raise ArithmeticError("broken")
        return weight


def test_a_power_step_that_fails_leaves_no_other_norm_in_evaluation():
    class TwoNorms(Holding):
        def __init__(self):
            super().__init__(nn.Dropout(0.1), inside=False)
            spectral_norm = nn.utils.parametrizations.spectral_norm
            self.first, self.second = (spectral_norm(nn.Linear(3, 3)) for _ in range(2))
            nn.utils.parametrize.register_parametrization(self.second, "weight", BrokenPart())

    operator = TwoNorms()
    norms = [m.parametrizations.weight[0] for m in (operator.first, operator.second)]
    with pytest.raises(ArithmeticError, match="broken"):
        Equilibrium(operator, Picard())(torch.randn(4, 3))
    assert all(norm.training for norm in norms)
    assert not any(m._forward_pre_hooks for m in operator.modules())


def test_group_norm_is_no_stateful_module():
    Equilibrium(Holding(nn.GroupNorm(1, 3)), Picard()).train()(torch.randn(4, 3))


def test_an_operator_that_works_in_place_is_refused():
    class InPlace(Halving):
        def forward(self, z, c):
            return z.mul_(0.5).add_(1)

    with pytest.raises(OperatorError, match="changed its state in place"), torch.no_grad():
        Equilibrium(InPlace(), Picard())(None)


def test_random_starts_are_functions_of_the_seed():
    class Drawn(Holding):
        def init_state(self, c, generator=None):
            return torch.randn(c.shape, generator=generator)

    layer, x = Equilibrium(Drawn(nn.Identity())), torch.randn(4, 3)
    before = torch.get_rng_state()
    assert torch.equal(layer.bind(x, seed=3)[1], layer.bind(x, seed=3)[1])
    assert not torch.equal(layer.bind(x, seed=3)[1], layer.bind(x, seed=4)[1])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": nn.Linear(3, 3)}, "operator` must be an `AbstractOperator`"),
        ({"solver": "anderson"}, "solver` must be an `AbstractSolver`, got 'anderson'"),
        ({"solver": Implicit()}, "solver` must be an `AbstractSolver`"),
        ({"adjoint": Picard()}, "adjoint` must be an `AbstractAdjoint`"),
    ],
)
def test_parts_of_another_kind_are_refused(arguments, message):
    # Below the types that the tests check at run time, as a user of plain Python comes in.
    init: Any = inspect.unwrap(Equilibrium.__init__)
    with pytest.raises(TypeError, match=message):
        init(Equilibrium(Halving()), **{"operator": Halving(), **arguments})


def solved(operator, x=None, z0=None):
    layer = Equilibrium(operator, Picard(max_iter=3))
    return layer(torch.randn(4, 3) if x is None else x, z0)


def test_a_context_or_a_start_for_other_samples_is_refused():
    with pytest.raises(OperatorError, match=r"init_state` must hold .* 4 rows, .* shape \(1, 3\)"):
        solved(broken.StartsWithOneRow())
    with pytest.raises(OperatorError, match=r"The start `z0` must hold .* 4 rows, .* \(2, 3\)"):
        solved(broken.AffineOperator(), z0=torch.zeros(2, 3))


def test_a_dtype_that_fits_no_weight_is_told_only_where_g_fails():
    with pytest.raises(OperatorError, match=r"on a state of torch.float64.*are torch.float32"):
        solved(broken.StartsInDouble())

    class Elementwise(broken.StartsInDouble):
        def forward(self, z, c):
            return 0.5 * z + c * self.weight.diagonal()

    assert solved(Elementwise())[0].dtype == torch.float64


def test_a_bug_in_any_method_is_told_by_class_and_method():
    class Buggy(broken.AffineOperator):
        def __init__(self, method):
            super().__init__()
            setattr(self, method, self.fail)

        def fail(self, *args):
            raise KeyError("a bug")

    for method in ("encode", "init_state", "layout", "stop", "decode"):
        with pytest.raises(KeyError) as caught:
            solved(Buggy(method))
        (note,) = caught.value.__notes__
        assert note.startswith(f"`Buggy.{method}`")
        assert note.endswith("raised this KeyError.")


def test_an_error_with_a_remedy_of_its_own_gets_no_note():
    with pytest.raises(OperatorError) as caught:
        solved(Holding(nn.Dropout(0.1)))
    assert not hasattr(caught.value, "__notes__")
