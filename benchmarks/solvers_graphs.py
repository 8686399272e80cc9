"""Problems whose states are ragged: operators for linear programs of two sizes in one batch."""

import tempfile
from typing import Any

import torch
from torch import Tensor

from lit_implicit import Equilibrium, Picard
from lit_implicit_lp.data import LPDataModule
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.operator import LPGraphOperator
from lit_implicit_lp.primal_dual import LPPrimalDual
from solvers_problems import Problem

SIZES = ((10, 50, 100), (6, 20, 30))
NOTE = "ragged: rivals see all graphs as one sample"


def programs(n: int) -> LPFeatures:
    """Return linear programs of two sizes, in float64."""
    with tempfile.TemporaryDirectory() as root:
        data = LPDataModule(
            root=root, n_train=1, n_val=1, n_test=n, sizes=SIZES, perturb_splits=(),
            eval_batch_size=n, dtype="float64", progress=False,
        )  # fmt: skip
        data.prepare_data()
        data.setup("test")
        (batch,) = data.test_dataloader()
    return LPFeatures.of(batch)


def graph_network(name: str, device: torch.device) -> Problem:
    """Return the paper's graph network of width 16 on 32 programs, with drawn weights.

    The last layer is scaled so that the slowest program converges at a rate of 0.8; at 1.2 times
    that scale plain iteration ends in a cycle.
    """
    torch.manual_seed(0)
    operator, x = LPGraphOperator(16).double(), programs(32)
    with torch.no_grad():
        operator.to_state.weight.mul_(1.5)
    return Problem.at(device, name, operator, x, note=NOTE)


def primal_dual(name: str, device: torch.device) -> Problem:
    """Return primal-dual steps on those of 32 programs that plain iteration solves in 1,000.

    On the others it is still on its way then, and no method here is of help.
    """
    operator, x = LPPrimalDual("fixed", tolerance=None).double(), programs(32)
    with torch.no_grad():
        solution = _solve(operator, x, 1000)
        x = x.select(solution.relative_residual < 1e-8)
    note = f"{NOTE}; {x.n} of 32 programs, those that plain iteration solves in 1,000"
    return Problem.at(device, name, operator, x, exact=_by_iteration, note=note)


def _solve(operator: LPPrimalDual, x: Any, max_iter: int) -> Any:
    return Picard(rtol=1e-15, max_iter=max_iter).solve(*Equilibrium(operator).bind(x))


def _by_iteration(operator: Any, x: Any) -> Tensor:
    return _solve(operator, x, 20000).z
