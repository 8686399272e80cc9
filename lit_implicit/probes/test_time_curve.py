"""Error and residual as functions of the number of test-time iterations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.iterates import iterates
from lit_implicit.solvers import AbstractSolver


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class TestTimeCurve:
    """Statistics over samples at each iteration t = 0..T; every tensor has shape `(T + 1,)`.

    Args:
        error_mean: Mean of the task error.
        error_std: Its standard deviation over samples.
        error_q10: Its 10 % quantile.
        error_median: Its median.
        error_q90: Its 90 % quantile.
        relative_residual: Median of |G(z_t) - z_t| / |G(z_t)|.
        converged: Share of the samples whose relative residual is at most `rtol`.
        nonfinite: Share of the samples whose iterate is not finite: they diverged, and are left
            out of the statistics of error and residual.
        n_samples: Number of samples.
        rtol: The tolerance behind `converged`.
    """

    __test__ = False  # pytest: no test class

    error_mean: Tensor
    error_std: Tensor
    error_q10: Tensor
    error_median: Tensor
    error_q90: Tensor
    relative_residual: Tensor
    converged: Tensor
    nonfinite: Tensor
    n_samples: int
    rtol: float

    def columns(self) -> dict[str, list[float]]:
        """Return the curve as columns of a table, the first being `t`."""
        names = [name for name in self.__dataclass_fields__ if name not in ("n_samples", "rtol")]
        columns = {name: getattr(self, name).tolist() for name in names}
        return {"t": [float(t) for t in range(len(self.error_mean))], **columns}


class TestTimeCurveProbe(Metric):
    """Collect the test-time curve of a model over batches; sums are merged over ranks.

    Args:
        n_iter: Number T of iterations.
        rtol: Relative residual at which an iterate counts as converged.
        solver: The iteration; None means plain Picard iteration.

    Example:
        >>> probe = TestTimeCurveProbe(n_iter=50)
        >>> for batch in loader:
        ...     probe.update(equilibrium, objective, batch)
        >>> curve = probe.compute()
    """

    __test__ = False
    full_state_update = False
    errors: list[Tensor]
    ratios: list[Tensor]

    def __init__(
        self, n_iter: int, rtol: float = 1e-4, solver: AbstractSolver | None = None
    ) -> None:
        super().__init__()
        if n_iter < 1:
            raise ValueError(f"`TestTimeCurveProbe.n_iter` must be at least 1, got {n_iter}.")
        self.n_iter, self.rtol, self.solver = n_iter, rtol, solver
        self.add_state("errors", default=[], dist_reduce_fx="cat")
        self.add_state("ratios", default=[], dist_reduce_fx="cat")

    def update(self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any) -> None:
        """Iterate on one batch and keep the error and the residual of each sample and t."""
        errors, ratios = [], []
        for y, ratio in iterates(equilibrium, objective.inputs(batch), self.n_iter, self.solver):
            errors.append(objective.error(y, batch))
            ratios.append(ratio)
        wide = widest_dtype(errors[0].device)
        self.errors.append(torch.stack(errors, dim=1).to(wide))
        self.ratios.append(torch.stack(ratios, dim=1).to(wide))

    def compute(self) -> TestTimeCurve:
        """Return the curve over all samples seen."""
        errors, ratios = dim_zero_cat(self.errors), dim_zero_cat(self.ratios)
        finite = errors.isfinite() & ratios.isfinite()
        errors = errors.where(finite, torch.nan)
        quantiles = torch.nanquantile(errors, errors.new_tensor([0.1, 0.5, 0.9]), dim=0)
        mean = errors.nanmean(0)
        return TestTimeCurve(
            error_mean=mean,
            error_std=(errors - mean).square().nanmean(0).sqrt(),
            error_q10=quantiles[0],
            error_median=quantiles[1],
            error_q90=quantiles[2],
            relative_residual=ratios.where(finite, torch.nan).nanquantile(0.5, dim=0),
            converged=(ratios <= self.rtol).to(mean.dtype).mean(0),
            nonfinite=(~finite).to(mean.dtype).mean(0),
            n_samples=len(errors),
            rtol=self.rtol,
        )
