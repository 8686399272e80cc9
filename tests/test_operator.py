import pytest
import torch

from lit_implicit import AbstractOperator, Equilibrium, FixedPointMap, Picard
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
