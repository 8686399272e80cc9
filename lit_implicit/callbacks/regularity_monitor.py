"""Whether the trained operator is regular: in tests, and while training if asked."""

from typing import TYPE_CHECKING, Any

from lit_implicit.callbacks.monitor import AbstractMonitor
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import AbstractProbe, RegularityProbe, RegularityReport
from lit_implicit.probes.regularity_words import regularity_numbers, say_regularity
from lit_implicit.probes.statistics import largest_of, mean_of
from lit_implicit.reporting.regularity_figure import draw_regularity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RegularityMonitor(AbstractMonitor):
    """Measure the regularity report: does G contract in z, and how steep is it in x?

    In each test and validation run, and while training every few epochs if asked; then
    `val/contraction_factor` and `val/lipschitz_x` show how regularity comes or goes. In the run
    directory: `figures/<stage>_regularity.csv` with a row per sample, `.json` with the numbers
    about all of them, and `.png`.

    Args:
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        max_samples: Most samples that are measured, per process; None means all.
        n_steps: Krylov steps for the norm of a Jacobian; each costs a few evaluations of G.
        max_iter: Most iterations to find a fixed point, unless the test solver's own are more.
        rtol: Relative residual up to which a state counts as a fixed point.
        double: Measure in float64: ratios of small differences drown in float32 rounding.

    Raises:
        ConfigError: If a number is out of range.

    References:
        arXiv:2510.03638, definition of a regular operator and the necessity theorem.
    """

    file_name = "regularity"

    def __init__(
        self,
        every_n_epochs: int = 0,
        max_batches: int | None = 1,
        max_samples: int | None = 64,
        n_steps: int = 12,
        max_iter: int = 200,
        rtol: float = 1e-4,
        double: bool = True,
    ) -> None:
        super().__init__(every_n_epochs, max_batches)
        self._check(max_samples=(max_samples, 1), n_steps=(n_steps, 1), max_iter=(max_iter, 1))
        if not rtol > 0:
            raise ConfigError(f"`RegularityMonitor.rtol` must be positive, got {rtol}.")
        self.max_samples, self.n_steps, self.max_iter = max_samples, n_steps, max_iter
        self.rtol, self.double = rtol, double

    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        return RegularityProbe(
            module.objective.modes,
            n_steps=self.n_steps,
            max_iter=self.max_iter,
            rtol=self.rtol,
            max_samples=self.max_samples,
            double=self.double,
        )

    def columns(self, report: RegularityReport) -> dict[str, list[float]]:
        return report.columns()

    def settings(self, report: RegularityReport) -> dict[str, Any]:
        return regularity_numbers(report)

    def scalars(self, report: RegularityReport) -> dict[str, float]:
        return {
            "contraction_factor": largest_of(report.factor),
            "contraction_factor_mean": mean_of(report.factor),
            "contracting": report.contracting,
            "lipschitz_x": largest_of(report.slope_at_fixed_point),
        }

    def findings(self, report: RegularityReport) -> list[str]:
        return say_regularity(report)

    def draw(self, report: RegularityReport, title: str, trained: int) -> "Figure":
        return draw_regularity(report, title)
