"""`LPPrimalDual` as the benchmark of linear programs sees it: trained or not, in batches."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from lit_implicit import Equilibrium, ImplicitLightningModule, Picard, load
from lit_implicit.tree import map_tensors
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.primal_dual import LPPrimalDual
from lit_implicit_lp.sparse import SparseMatrix
from lp_highs import Answers

_LENGTHS = 2
"""Sweeps that norms of rows and columns are worth, which certificates need of A once."""


class BatchMethod:
    """`LPPrimalDual` in batches, each program until its certificate holds or the budget ends.

    What is timed is encoding, solving and, where the device is another one, both transfers.

    Args:
        operator: The operator, on its device.
        batches: The programs, on the CPU, in the precision of the iteration.
        tolerance: Relative KKT residual at which a program stops (the operator's own margin is
            for what single precision does not measure).
        max_iter: Most applications of G.
        device: Where it solves.
    """

    def __init__(
        self,
        operator: LPPrimalDual,
        batches: Sequence[LPFeatures],
        tolerance: float,
        max_iter: int,
        device: torch.device,
    ) -> None:
        operator = copy.deepcopy(operator).to(device, batches[0].c.dtype).eval()
        operator.tolerance = tolerance
        self._operator = operator
        self._layer = Equilibrium(operator, Picard(rtol=0.0, max_iter=max_iter))
        self._batches, self._device = batches, device

    @torch.no_grad()
    def sweeps_of_encode(self) -> int:
        """Count the products with A or its transpose before the first iteration of a batch."""
        product = SparseMatrix.__matmul__
        with patch.object(SparseMatrix, "__matmul__", autospec=True, side_effect=product) as count:
            self._operator.encode(map_tensors(lambda t: t.to(self._device), self._batches[0]))
        return int(count.call_count) + _LENGTHS

    @torch.no_grad()
    def __call__(self) -> Answers:
        """Solve all programs."""
        parts = []
        for batch in self._batches:
            answer, solution = self._layer(map_tensors(lambda t: t.to(self._device), batch))
            parts.append([t.cpu() for t in (answer.primal, answer.dual, solution.n_iter)])
        return Answers(*(torch.cat(part) for part in zip(*parts, strict=True)))


def operators(path: Path | None) -> dict[str, LPPrimalDual]:
    """Return the operators to compare: as trained, with its learned step sizes alone, unlearned.

    Args:
        path: A checkpoint of `LPPrimalDual`; None leaves only the unlearned one.

    Raises:
        SystemExit: If the checkpoint holds another model.
    """
    if path is None:
        return {"unlearned": LPPrimalDual("fixed")}
    module = load(path)
    trained = module.operator if isinstance(module, ImplicitLightningModule) else module
    if not isinstance(trained, LPPrimalDual):
        raise SystemExit(
            f"`--ckpt_path` must be of an `LPPrimalDual`, got {str(path)!r}, which holds "
            f"{type(trained).__name__}. Train one by `lit-implicit fit --config configs/lp.yaml`."
        )
    found = {"learned": trained}
    if len(trained.halves):
        # What `steps="state"` decides of the iterate is left out: the rest is `steps="data"`.
        found["learned step sizes only"] = copy.deepcopy(trained)
        found["learned step sizes only"].halves = nn.ModuleList()
    found["unlearned"] = LPPrimalDual("fixed", scaling_rounds=trained.scaling_rounds)
    return found


def features(batch: Any, size: int, first: int, dtype: torch.dtype) -> LPFeatures:
    """Return the features of some programs, all real ones in a precision."""
    keep = torch.zeros(batch.num_graphs, dtype=torch.bool)
    keep[first : first + size] = True
    x = LPFeatures.of(batch).select(keep)
    return map_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t, x)  # type: ignore[no-any-return]
