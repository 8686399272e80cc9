"""Sums and norms by owner: against numpy, and with a derivative where a norm is 0."""

import numpy as np
import torch
from lp.lp_programs import vector
from torch.func import jvp

from lit_implicit_lp.sums import norms, root, sums

OWNER = torch.tensor([2, 0, 2, 3])  # 1 has none


def test_sums_and_norms_are_those_of_each_owner():
    a, b = vector(1, 2, 3, 4), vector(0, -1, 5, 2)
    assert [part.tolist() for part in sums(OWNER, 4, a, b)] == [[2, 0, 4, 4], [-1, 0, 5, 2]]
    (leading,) = sums(OWNER, 4, torch.stack([a, b]))
    assert leading.tolist() == [[2, 0, 4, 4], [-1, 0, 5, 2]]
    np.testing.assert_allclose(norms(OWNER, 4, b), [1, 0, 5, 2], rtol=1e-15)
    np.testing.assert_allclose(norms(OWNER, 4, a, empty=7.0), [2, 7, 10**0.5, 4], rtol=1e-15)


def test_a_norm_of_zero_has_no_slope_and_the_others_have_theirs():
    values, direction = vector(0, 3, 0, 4), vector(1, 1, 1, 1)
    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norms(OWNER, 4, leaf).sum(), leaf)
    assert gradient.tolist() == [0, 1, 0, 1]
    _, slope = jvp(lambda v: norms(OWNER, 4, v, 1.0), (values,), (direction,))
    assert slope.tolist() == [1, 0, 0, 1]


def test_what_is_no_number_has_no_root():
    assert root(vector(4, torch.nan, 0), 1.0).isnan().tolist() == [False, True, False]
