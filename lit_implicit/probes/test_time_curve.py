"""Error, residual and cost as functions of the number of test-time iterations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.cost import Stopwatch, iteration_cost
from lit_implicit.probes.iterates import iterates
from lit_implicit.probes.probe import AbstractProbe
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
        flops: Floating-point operations behind y_t, per sample: encode, t applications of G,
            decode. Of the first batch; how they are counted, see `flops_of`.
        seconds: Time behind y_t, per sample, in the same parts and what the solver does between
            them: the median over batches, each divided by its number of samples.
        scores: Mean of each of the objective's scores, by its name.
        n_samples: Number of samples.
        rtol: The tolerance behind `converged`.
        batch_size: Samples in the batches that were timed, the largest number.
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
    flops: Tensor
    seconds: Tensor
    scores: Mapping[str, Tensor]
    n_samples: int
    rtol: float
    batch_size: int

    def columns(self) -> dict[str, list[float]]:
        """Return the curve as columns of a table, the first being `t`."""
        others = ("scores", "n_samples", "rtol", "batch_size")
        names = [name for name in self.__dataclass_fields__ if name not in others]
        columns = {name: getattr(self, name).tolist() for name in names}
        scores = {f"{name}_mean": mean.tolist() for name, mean in self.scores.items()}
        return {"t": [float(t) for t in range(len(self.error_mean))], **columns, **scores}


class TestTimeCurveProbe(AbstractProbe):
    """Collect the test-time curve of a model over batches; sums are merged over ranks.

    Args:
        n_iter: Number T of iterations.
        rtol: Relative residual at which an iterate counts as converged.
        solver: The iteration; None means plain Picard iteration.
        seed: Seed of starts that are drawn.
        scores: Names of the objective's scores that are measured, too.

    Example:
        >>> probe = TestTimeCurveProbe(n_iter=50)
        >>> for batch in loader:
        ...     probe.update(equilibrium, objective, batch)
        >>> curve = probe.compute()
    """

    __test__ = False

    def __init__(
        self,
        n_iter: int,
        rtol: float = 1e-4,
        solver: AbstractSolver | None = None,
        seed: int = 0,
        scores: Sequence[str] = (),
    ) -> None:
        super().__init__(seed)
        if n_iter < 1:
            raise ValueError(f"`TestTimeCurveProbe.n_iter` must be at least 1, got {n_iter}.")
        self.n_iter, self.rtol, self.solver = n_iter, rtol, solver
        self.score_names = tuple(scores)
        for name in ("errors", "ratios", "flops", "seconds"):
            self.add_samples(name, n_iter + 1)
        if self.score_names:
            self.add_samples("scores", n_iter + 1, len(self.score_names))
        self.add_samples("sizes")

    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Iterate on one batch and keep the error and the residual of each sample and t."""
        x, n = objective.inputs(batch), objective.n_samples(batch)
        if self.n_samples == 0:
            # Apart from the timing, which it would slow down; it warms the device up for it, too.
            cost = iteration_cost(equilibrium, x)
            flops = [cost.after(t) / n for t in range(self.n_iter + 1)]
            self.keep(flops=torch.tensor([flops], dtype=torch.float64))
        errors, ratios, scores = [], [], []
        measures = [objective.scores[name] for name in self.score_names]
        watch = Stopwatch(self.device)
        for y, ratio in iterates(equilibrium, x, self.n_iter, self.solver, seed, watch):
            errors.append(objective.error(y, batch))
            ratios.append(ratio)
            if measures:
                scores.append(torch.stack([measure(y, batch) for measure in measures], dim=1))
        if measures:
            self.keep(scores=torch.stack(scores, dim=1))
        self.keep(
            errors=torch.stack(errors, dim=1),
            ratios=torch.stack(ratios, dim=1),
            seconds=_seconds(watch)[None] / n,
            sizes=torch.tensor([n]),
        )

    def result(self) -> TestTimeCurve:
        """Return the curve over all samples seen."""
        errors, ratios = self.kept("errors"), self.kept("ratios")
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
            flops=self.kept("flops").mean(0),
            seconds=self.kept("seconds").median(0).values,
            scores=self._scores(finite),
            n_samples=len(errors),
            rtol=self.rtol,
            batch_size=int(self.kept("sizes").max()),
        )

    def _scores(self, finite: Tensor) -> dict[str, Tensor]:
        if not self.score_names:
            return {}
        means = self.kept("scores").where(finite[..., None], torch.nan).nanmean(0)
        return dict(zip(self.score_names, means.unbind(-1), strict=True))


def _seconds(watch: Stopwatch) -> Tensor:
    """Return the seconds behind each y_t of a batch: the last application of G is behind none."""
    steps = watch.seconds("step")
    before = torch.cat([steps.new_zeros(1), steps[:-1].cumsum(0)])
    return watch.seconds("encode") + before + watch.seconds("decode").median()
