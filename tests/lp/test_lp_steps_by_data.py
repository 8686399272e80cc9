"""Steps that depend on the data alone: PDHG, its metric, and what never grows in it."""

import numpy as np
import pytest
import torch
from lp.lp_learned import learned

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.primal_dual import LPPrimalDual


@pytest.mark.parametrize("steps", ["fixed", "data"])
def test_steps_by_data_are_nonexpansive_in_their_metric(steps, lp_batch, generator):
    operator = learned(steps, size=1.0)
    with torch.no_grad():
        c = operator.encode(LPFeatures.of(lp_batch))
        z = operator.init_state(c)
        for scale in (0.1, 1.0, 10.0):
            a, b = (z + scale * torch.randn(z.shape, generator=generator).double() for _ in "ab")
            before = operator.metric_norm(a - b, c)
            after = operator.metric_norm(operator(a, c) - operator(b, c), c)
            assert (after <= before * (1 + 1e-12)).all()
        last = torch.full((lp_batch.num_graphs,), torch.inf)
        for _ in range(300):
            gz = operator(z, c)
            residual = operator.metric_norm(gz - z, c)
            # Rounding: values of order one, residuals that reach it.
            assert (residual <= last * (1 + 1e-9) + 1e-13).all()
            z, last = gz, residual


def test_metric_is_that_of_the_step_sizes(lp_batch, generator):
    operator = learned("data")
    c = operator.encode(LPFeatures.of(lp_batch))
    p = c.programs
    d = torch.randn(operator.init_state(c).shape, generator=generator).double()
    n = len(p.tau)
    dense = torch.zeros(len(p.sigma), n, dtype=torch.float64)
    dense.index_put_((p.x.edge_index[0], p.x.edge_index[1]), p.x.coefficients, accumulate=True)
    m = torch.diag(torch.cat([1 / p.tau, 1 / p.sigma]))
    m[n:, :n], m[:n, n:] = -dense, -dense.T
    expected = d[:, 0] * (m @ d[:, 0])
    squares = torch.zeros(p.x.n).double().index_add(0, operator.layout(d, c).index, expected)
    torch.testing.assert_close(operator.metric_norm(d, c) ** 2, squares, rtol=1e-10, atol=1e-10)
    assert torch.linalg.eigvalsh(m).min() >= -1e-12


def test_fixed_steps_are_pdhg_with_diagonal_preconditioning(lp_batch):
    """Against a dense loop in numpy, in the programs' own units."""
    operator = LPPrimalDual("fixed")
    x = LPFeatures.of(lp_batch)
    c = operator.encode(x)
    z = operator.init_state(c)
    for _ in range(3):
        z = operator(z, c)
    answer = operator.decode(z, c)
    for i in range(x.n):
        mine, rows = (x.batch == i).numpy(), (x.constraint_batch == i).numpy()
        a = np.zeros((len(rows), len(mine)))
        np.add.at(a, tuple(x.edge_index.numpy()), x.coefficients.numpy())
        a = a[np.ix_(rows, mine)]
        cost, low, up = (t.numpy()[mine] for t in (x.c, x.lower, x.upper))
        b, equal = x.b.numpy()[rows], x.is_equality.numpy()[rows] > 0
        size = np.sqrt(np.mean(np.concatenate([low, up]) ** 2))
        weight = np.sqrt(np.mean(cost**2)) / size
        tau = 1 / np.maximum(np.abs(a).sum(0), 1e-3) / weight
        sigma = 1 / np.maximum(np.abs(a).sum(1), 1e-3) * weight
        y, dual = np.clip(np.zeros(mine.sum()), low, up), np.zeros(rows.sum())
        for _ in range(6):
            new_y = np.clip(y - tau * (cost + a.T @ dual), low, up)
            new_dual = dual + sigma * (a @ (2 * new_y - y) - b)
            new_dual = np.where(equal, new_dual, np.maximum(new_dual, 0))
            y_step, dual_step = new_y - y, new_dual - dual
            y, dual = y + 1.5 * y_step, dual + 1.5 * dual_step
        np.testing.assert_allclose(answer.primal.numpy()[mine], new_y, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(answer.dual.numpy()[rows], new_dual, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(answer.primal_step.numpy()[mine], y_step, atol=1e-10)
        np.testing.assert_allclose(answer.dual_step.numpy()[rows], dual_step, atol=1e-12)
