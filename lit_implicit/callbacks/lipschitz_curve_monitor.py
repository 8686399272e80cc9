"""Iterations against the Lipschitz constant of x -> y_t(x), while training and in tests."""

from typing import TYPE_CHECKING, Any

from torchmetrics import Metric

from lit_implicit.callbacks.curve_monitor import AbstractCurveMonitor
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import LipschitzCurve, LipschitzCurveProbe
from lit_implicit.reporting.figures import draw_lipschitz_curve
from lit_implicit.solvers import AbstractSolver

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LipschitzCurveMonitor(AbstractCurveMonitor):
    """Draw the Lipschitz estimate L_t by pairs against the number of test-time iterations.

    Args:
        n_iter: Number T of iterations; None means twice the training budget. 0 switches the monitor
            off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        solver: The iteration; None means plain Picard iteration.
        double: Measure in float64: ratios of small differences drown in float32 rounding.

    Raises:
        ConfigError: If a number is out of range.
    """

    file_name = "lipschitz_curve"
    followed = ("lipschitz_",)

    def __init__(
        self,
        n_iter: int | None = None,
        every_n_epochs: int = 5,
        max_batches: int | None = None,
        solver: AbstractSolver | None = None,
        double: bool = True,
    ) -> None:
        super().__init__(n_iter, every_n_epochs, max_batches, solver)
        self.double = double

    def make_probe(self, module: ImplicitLightningModule) -> Metric | None:
        modes, n_iter = module.objective.modes, self.length(module)
        if not modes or n_iter == 0:
            return None
        return LipschitzCurveProbe(n_iter, modes, self.solver, self.double)

    def columns(self, curve: LipschitzCurve) -> dict[str, list[float]]:
        return curve.columns()

    def settings(self, curve: LipschitzCurve) -> dict[str, Any]:
        return {
            **super().settings(curve),
            "estimate": "pairs, from below",
            "n_samples": curve.n_samples,
            "aggregates": curve.aggregates,
            "target_slopes": curve.target_slopes,
        }

    def draw(self, curve: LipschitzCurve, title: str, trained: int) -> "Figure":
        return draw_lipschitz_curve(curve, title, trained)
