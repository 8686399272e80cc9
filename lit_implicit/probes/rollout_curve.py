"""Answers that take more than one solve, such as generated text, at listed iterations t."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.cost import Stopwatch
from lit_implicit.probes.probe import AbstractProbe


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class RolloutScoreCurve:
    """Statistics of one score over samples at each listed t; every tensor has shape `(times,)`.

    Samples without a value (NaN) are left out; with none at all a statistic is NaN.

    Args:
        mean: Arithmetic mean.
        std: Standard deviation over samples.
        n: Number of samples with a value.
        geometric_mean: Geometric mean of the values above zero; None where it makes no sense.
        geometric_std: exp of the standard deviation of their logarithms: a factor, at least 1.
        zero: Share of the values that are zero. They have no logarithm and no part in the
            geometric statistics, which say nothing without this share.
    """

    mean: Tensor
    std: Tensor
    n: Tensor
    geometric_mean: Tensor | None = None
    geometric_std: Tensor | None = None
    zero: Tensor | None = None

    @classmethod
    def of(cls, values: Tensor, geometric: bool) -> "RolloutScoreCurve":
        """Return the statistics of values, shape `(n, times)`."""
        known = ~values.isnan()
        n = known.sum(0)
        mean, std = _moments(values)
        if not geometric:
            return cls(mean, std, n)
        log_mean, log_std = _moments(values.where(values > 0, torch.nan).log())
        zero = (values == 0).to(values).sum(0) / n  # of none: NaN
        return cls(mean, std, n, log_mean.exp(), log_std.exp(), zero)


@dataclass(eq=False)
class RolloutCurve:
    """What rolled out answers are worth at each listed t.

    Args:
        times: The listed t, ascending.
        scores: Statistics of each of the objective's `rollout_scores`, by name.
        seconds: Time of an answer, per sample, shape `(times,)`: the median over batches, each
            divided by its number of samples.
        n_samples: Number of samples.
        batch_size: Samples in the batches that were timed, the largest number.
        rows: The objective's `rollout_rows` of the first batch (of this process).
    """

    times: tuple[int, ...]
    scores: Mapping[str, RolloutScoreCurve]
    seconds: Tensor
    n_samples: int
    batch_size: int
    rows: Sequence[Mapping[str, Any]]

    def columns(self) -> dict[str, list[float]]:
        """Return the curve as columns of a table, the first being `t`."""
        columns = {"t": [float(t) for t in self.times]}
        for name, curve in self.scores.items():
            for statistic in curve.__dataclass_fields__:
                if (values := getattr(curve, statistic)) is not None:
                    columns[f"{name}_{statistic}"] = values.double().tolist()
        return {**columns, "seconds": self.seconds.tolist()}


class RolloutCurveProbe(AbstractProbe):
    """Roll answers out at listed numbers of iterations; samples are merged over ranks.

    Each answer is made anew for each t, by plain iteration without a tolerance.

    Args:
        times: The listed t, ascending, from 1 on.
        scores: The objective's `rollout_scores`: their names, and whether they are geometric.
        seed: Seed of what is drawn.

    Raises:
        ValueError: If the times do not ascend from 1 on, or there is no score.

    Example:
        >>> probe = RolloutCurveProbe((1, 2, 4, 8), {"exact_match": False})
        >>> for batch in loader:
        ...     probe.update(equilibrium, objective, batch)
        >>> curve = probe.compute()
    """

    def __init__(self, times: Sequence[int], scores: Mapping[str, bool], seed: int = 0) -> None:
        super().__init__(seed)
        if not times or list(times) != sorted(set(times)) or times[0] < 1:
            raise ValueError(f"`RolloutCurveProbe.times` must ascend from 1 on, got {list(times)}.")
        if not scores:
            raise ValueError("The objective has no `rollout_scores`: there is nothing to measure.")
        self.times, self.scores = tuple(times), dict(scores)
        self.rows: Sequence[Mapping[str, Any]] = ()
        for name in scores:
            self.add_samples(f"score_{name}", len(self.times))
        self.add_samples("seconds", len(self.times))
        self.add_samples("sizes")

    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Answer a batch once for each t."""
        n, watch, answers = objective.n_samples(batch), Stopwatch(self.device), {}
        for t in self.times:
            with watch("rollout"):
                answers[t] = objective.rollout(equilibrium, batch, t)
        for name in self.scores:
            measure = objective.rollout_scores[name].measure
            values = [measure(answer, batch) for answer in answers.values()]
            self.keep(**{f"score_{name}": torch.stack(values, dim=1)})
        self.keep(seconds=watch.seconds("rollout")[None] / n, sizes=torch.tensor([n]))
        if not self.n_samples:
            self.rows = objective.rollout_rows(answers, batch)

    def result(self) -> RolloutCurve:
        """Return the curve over all samples seen."""
        return RolloutCurve(
            times=self.times,
            scores={
                name: RolloutScoreCurve.of(self.kept(f"score_{name}"), geometric)
                for name, geometric in self.scores.items()
            },
            seconds=self.kept("seconds").median(0).values,
            n_samples=int(self.n_samples),
            batch_size=int(self.kept("sizes").max()),
            rows=self.rows,
        )

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.rows = ()


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the first axis, NaN left out."""
    mean = values.nanmean(0)
    return mean, (values - mean).square().nanmean(0).sqrt()
