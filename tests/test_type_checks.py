"""Shapes are checked in all tests, in functions inside of functions as often as these are made."""

import pytest
import torch
from jaxtyping import Float, jaxtyped
from torch import Tensor
from type_checks import CHECKED, checked

from lit_implicit.layout import Ragged


def make(fault, given="n"):
    @jaxtyped(typechecker=checked)
    def add(a: Float[Tensor, "n"], b: Float[Tensor, given] | None) -> Float[Tensor, "n"]:
        return (a + b)[fault:]

    return add


def test_a_function_made_again_is_checked_by_the_same_code():
    v = torch.zeros(3)
    make(0)
    n_made = len(CHECKED)
    assert [make(0)(v, v).shape for _ in range(3)] == 3 * [(3,)]
    assert len(CHECKED) == n_made
    for _ in range(3):
        with pytest.raises(TypeError, match=r"checking the parameters of .*add"):
            make(0)(v, torch.zeros(1))
        with pytest.raises(TypeError, match=r"checking the return value of .*add"):
            make(1)(v, v)
    one = torch.zeros(1)
    assert make(0, "m")(v, one).shape == (3,)  # another hint has a check of its own
    with pytest.raises(TypeError, match="parameters"):
        make(0)(v, one)


def test_the_package_is_checked():
    with pytest.raises(TypeError, match="Type-check error"):
        Ragged("no index", 3)
