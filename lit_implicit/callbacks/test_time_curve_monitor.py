"""Iterations against error, while training and in tests."""

from typing import TYPE_CHECKING, Any

from lit_implicit.callbacks.curve_monitor import AbstractCurveMonitor
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import AbstractProbe, TestTimeCurve, TestTimeCurveProbe
from lit_implicit.reporting.figures import draw_test_time_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TestTimeCurveMonitor(AbstractCurveMonitor):
    """Draw task error and relative residual against the number of test-time iterations.

    What they cost, in operations and seconds per sample, stands in the title and in the columns.

    Args:
        n_iter: Number T of iterations; None means twice the training budget. 0 switches the monitor
            off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        solver: The iteration; None means plain Picard iteration.

    Raises:
        ConfigError: If a number is out of range.
    """

    __test__ = False  # pytest: no test class
    file_name = "test_time_curve"
    followed = ("error_mean", "relative_residual")

    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        n_iter = self.length(module)
        if not n_iter:
            return None
        scores = tuple(module.objective.scores)
        rtol = module.test_solver.rtol
        return TestTimeCurveProbe(n_iter, rtol, self.solver, scores=scores)

    def columns(self, curve: TestTimeCurve) -> dict[str, list[float]]:
        return curve.columns()

    def settings(self, curve: TestTimeCurve) -> dict[str, Any]:
        return {
            **super().settings(curve),
            "n_samples": curve.n_samples,
            "rtol": curve.rtol,
            "batch_size": curve.batch_size,
        }

    def draw(self, curve: TestTimeCurve, title: str, trained: int) -> "Figure":
        return draw_test_time_curve(curve, title, trained)
