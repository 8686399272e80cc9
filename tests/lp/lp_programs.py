"""Linear programs by hand, as batches of graphs, and their optimal pairs by the oracle."""

import numpy as np
import torch

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.generator import draw_program
from lit_implicit_lp.oracle import LPOracle, LPStatus
from lit_implicit_lp.problem import LinearProgram


def program(c, a, b, is_equality, lower, upper):
    """A program of a dense A; scalars stand for all bounds."""
    a = np.array(a, float).reshape(len(b), len(c))
    rows, columns = np.nonzero(a)
    bounds = [np.broadcast_to(np.array(x, float), len(c)).copy() for x in (lower, upper)]
    return LinearProgram(
        np.array(c, float),
        rows,
        columns,
        a[rows, columns],
        np.array(b, float),
        np.array(is_equality, bool),
        *bounds,
    )


def features(*programs, dtype=torch.float64):
    """The programs side by side, as a network sees them."""

    def join(name):
        return torch.from_numpy(np.concatenate([getattr(p, name) for p in programs])).to(dtype)

    def starts(sizes):
        return np.concatenate([[0], np.cumsum(sizes)[:-1]])

    n_rows = [p.n_constraints for p in programs]
    n_columns = [p.n_variables for p in programs]
    rows = np.concatenate([p.rows + s for p, s in zip(programs, starts(n_rows), strict=True)])
    columns = np.concatenate(
        [p.columns + s for p, s in zip(programs, starts(n_columns), strict=True)]
    )
    numbers = np.arange(len(programs))
    return LPFeatures(
        c=join("c"),
        lower=join("lower"),
        upper=join("upper"),
        b=join("b"),
        is_equality=join("is_equality"),
        coefficients=join("coefficients"),
        edge_index=torch.from_numpy(np.stack([rows, columns]).astype(np.int64)),
        batch=torch.from_numpy(np.repeat(numbers, n_columns)),
        constraint_batch=torch.from_numpy(np.repeat(numbers, n_rows)),
        n=len(programs),
    )


def optimal_pair(*programs):
    """Optimal y and duals of the programs, one after the other; `dual` = minus HiGHS's."""
    answers = [LPOracle().solve(p) for p in programs]
    assert all(answer.status is LPStatus.OPTIMAL for answer in answers)
    pair = [[a.y for a in answers], [-a.row_duals for a in answers]]
    return tuple(torch.from_numpy(np.concatenate(part)) for part in pair)


def solvable(n, sizes=((6, 20, 40), (3, 8, 12))):
    """The first random programs that have a solution."""
    found, oracle = [], LPOracle()
    for index in range(10_000):
        drawn = draw_program(0, 5, index, sizes)
        if oracle.solve(drawn).status is LPStatus.OPTIMAL:
            found.append(drawn)
        if len(found) == n:
            return found
    raise AssertionError


def vector(*values):
    """A float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)
