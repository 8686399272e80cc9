"""Is what was trained really an equilibrium? Asked in each test, answered in words."""

from typing import TYPE_CHECKING, Any

from lit_implicit.callbacks.monitor import AbstractMonitor, Columns
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import AbstractProbe, EquilibriumAudit, EquilibriumAuditProbe
from lit_implicit.reporting.audit_figure import draw_audit
from lit_implicit.solvers import AbstractSolver

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AuditMonitor(AbstractMonitor):
    """Iterate a model far past its training depth, from several starts, and judge it in words.

    What is checked, and what a pass proves, stands with `EquilibriumAuditProbe`. Logged are
    `over_iteration` (error at the end by the least error), `audit_converged` and `path_independent`
    (shares of samples); the verdict is printed at the end of the run and stands in `report.json`,
    all numbers in `figures/<stage>_audit.json`. Costs `1 + n_starts` runs of `factor` times the
    training depth.

    Args:
        solver: The iteration; None means that of the test solver, without its tolerances: the model
            as it is used.
        factor: Length of the runs as a multiple of the training depth, at least 2.
        n_starts: Random starts, at least 1.
        max_samples: Most samples that are audited, per process; None means all.
        max_batches: Most batches that are audited; None means all.
        every_n_epochs: Epochs from one audit on validation data to the next; 0 means never.

    Raises:
        ConfigError: If a number is out of range.
    """

    file_name = "audit"

    def __init__(
        self,
        solver: AbstractSolver | None = None,
        factor: int = 10,
        n_starts: int = 3,
        max_samples: int | None = 100,
        max_batches: int | None = 1,
        every_n_epochs: int = 0,
    ) -> None:
        super().__init__(every_n_epochs, max_batches)
        self._check(factor=(factor, 2), n_starts=(n_starts, 1), max_samples=(max_samples, 1))
        self.solver, self.factor = solver, factor
        self.n_starts, self.max_samples = n_starts, max_samples

    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        return EquilibriumAuditProbe(
            module.solver.max_iter,
            module.test_equilibrium.adjoint,
            self.solver or module.test_solver,
            module.test_solver.rtol,
            self.factor,
            self.n_starts,
            self.max_samples,
        )

    def columns(self, audit: EquilibriumAudit) -> Columns:
        return audit.columns()

    def settings(self, audit: EquilibriumAudit) -> dict[str, Any]:
        return audit.numbers()

    def scalars(self, audit: EquilibriumAudit) -> dict[str, float]:
        return {
            "over_iteration": audit.over_iteration,
            "audit_converged": float(audit.converged[-1]),
            "path_independent": audit.path_independent,
        }

    def findings(self, audit: EquilibriumAudit) -> list[str]:
        return audit.verdict.splitlines()

    def draw(self, audit: EquilibriumAudit, title: str, trained: int) -> "Figure":
        return draw_audit(audit, title)
