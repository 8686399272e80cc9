"""Estimates of the local Lipschitz constant of x -> y_t(x) against t, all of them from below."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor

Estimator: TypeAlias = Literal["pairs", "jacobian", "worst_pair"]


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class LipschitzCurve:
    """Estimates of L_t from below, t = 0..T; every tensor has shape `(T + 1,)`.

    Args:
        slopes: By pairs: |y_t(x + d) - y_t(x)| / |d| by mode of perturbation, aggregated over
            samples as the mode says.
        target_slopes: The same quotient of the targets, by mode: what L_t rises towards.
        nonfinite: Share of pairs (without them: of derivatives), over all modes, that are not
            finite at t: an iterate diverged. They are left out of the slopes. NaN where only worst
            pairs were measured.
        n_samples: Number of samples by mode.
        aggregates: `max` or `mean`, by mode.
        jacobian: By derivatives along the modes' directions: |dy_t/dx d| / |d|, aggregated alike.
        worst_pair: By pairs that gradient ascent made worse; NaN but at the t listed. None where
            not measured.
        worst_pair_aggregate: `mean` where all modes say so, else `max`.
        refine: Reverse sweeps that refined the directions of `jacobian`.
    """

    slopes: dict[str, Tensor]
    target_slopes: dict[str, float]
    nonfinite: Tensor
    n_samples: dict[str, int]
    aggregates: dict[str, str]
    jacobian: dict[str, Tensor] = field(default_factory=dict)
    worst_pair: Tensor | None = None
    worst_pair_aggregate: str = "max"
    refine: int = 0

    def columns(self) -> dict[str, list[float]]:
        """Return the curve as columns of a table, the first being `t`."""
        columns = {f"lipschitz_{mode}": values.tolist() for mode, values in self.slopes.items()}
        columns |= {f"jacobian_{mode}": values.tolist() for mode, values in self.jacobian.items()}
        if self.worst_pair is not None:
            columns["worst_pair"] = self.worst_pair.tolist()
        columns["nonfinite_pairs"] = self.nonfinite.tolist()
        return {"t": [float(t) for t in range(len(self.nonfinite))], **columns}
