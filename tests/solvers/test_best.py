"""The best iterate of each sample, kept by reference and gathered when there are many."""

import numpy as np
import torch

from lit_implicit import Dense
from lit_implicit.solvers.best import BestIterates


def test_best_iterates_are_those_of_least_residual():
    generator = np.random.default_rng(0)
    ratios = generator.random((30, 7))
    ratios[3, 2] = ratios[5, 1] = np.nan
    ratios[:, 6] = np.nan  # a sample that was never finite
    states = [torch.full((7, 2), float(k + 1)) for k in range(30)]
    best, active = BestIterates(Dense(7), states[0]), np.ones(7, np.bool_)
    for k, (state, ratio) in enumerate(zip(states, ratios, strict=True)):
        best.take(k, state, ratio, active)
        assert len(best.kept) <= 2
        seen = np.nan_to_num(ratios[: k + 1], nan=np.inf)
        expected = [*(seen[:, :6].argmin(0) + 1.0), 0.0]
        assert best.of(active)[:, 0].tolist() == expected
        assert best.ratio.tolist() == seen.min(0).tolist()
        some = np.arange(7) % 2 == 1
        assert best.select(some).of(some[some])[:, 0].tolist() == expected[1::2]


def test_no_iterate_is_written_to():
    best, active = BestIterates(Dense(2), torch.zeros(2, 1)), np.ones(2, np.bool_)
    states = [torch.full((2, 1), float(k)) for k in range(8)]
    for k, state in enumerate(states):
        best.take(k, state, np.array([1.0 / (k + 1), float(k)]), active)
    assert [state.tolist() for state in states] == [[[float(k)]] * 2 for k in range(8)]
    assert best.of(active).tolist() == [[7.0], [0.0]]
