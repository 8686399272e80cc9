"""Iterations against the Lipschitz constant of x -> y_t(x), while training and in tests."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lit_implicit.callbacks.curve_monitor import AbstractCurveMonitor
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes import AbstractProbe, Estimator, LipschitzCurve, LipschitzCurveProbe
from lit_implicit.reporting.figures import draw_lipschitz_curve
from lit_implicit.solvers import AbstractSolver, Picard

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LipschitzCurveMonitor(AbstractCurveMonitor):
    """Draw estimates of the Lipschitz constant L_t against the number of test-time iterations.

    All are estimates from below. `pairs`: the slope between each sample and its perturbation in
    each of the task's modes. `jacobian`: derivatives along the same directions, at two to three
    times the cost; exact where x is a number. `worst_pair`: pairs that gradient ascent made
    steeper, at listed t only, at the cost of six G for each t and step. The last two follow Picard
    iteration alone, and the objective must define `leaves`.

    Args:
        n_iter: Number T of iterations; None means twice the training budget. 0 switches the monitor
            off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        solver: The iteration; None means plain Picard iteration.
        double: Measure in float64: ratios of small differences drown in float32 rounding.
        estimators: Which of `pairs`, `jacobian` and `worst_pair` are measured.
        refine: Reverse sweeps that turn the directions of `jacobian` towards the steepest at t = T;
            each costs two to four evaluations of G a step, and memory for T states.
        worst_pair_at: The t of `worst_pair`; None means those of 1, 5 and 20 that the curve has.
        worst_pair_steps: Steps of gradient ascent.

    Raises:
        ConfigError: If a number is out of range, no estimator is named, or the solver does not suit
            one.
    """

    file_name = "lipschitz_curve"
    followed = ("lipschitz_", "jacobian_", "worst_pair")

    def __init__(
        self,
        n_iter: int | None = None,
        every_n_epochs: int = 5,
        max_batches: int | None = None,
        solver: AbstractSolver | None = None,
        double: bool = True,
        estimators: Sequence[Estimator] = ("pairs",),
        refine: int = 0,
        worst_pair_at: Sequence[int] | None = None,
        worst_pair_steps: int = 20,
    ) -> None:
        super().__init__(n_iter, every_n_epochs, max_batches, solver)
        self._check(refine=(refine, 0), worst_pair_steps=(worst_pair_steps, 0))
        self.double, self.estimators = double, tuple(estimators)
        self.refine, self.worst_pair_steps = refine, worst_pair_steps
        self.worst_pair_at = worst_pair_at
        if not estimators:
            raise ConfigError(
                f"`{type(self).__name__}.estimators` is empty. Name pairs, jacobian or worst_pair, "
                "or switch the monitor off by `null`."
            )
        if self.estimators != ("pairs",) and not isinstance(solver, Picard | None):
            raise ConfigError(
                f"`{type(self).__name__}.solver` is {type(solver).__name__}, but the estimators "
                "jacobian and worst_pair follow Picard iteration alone. Name Picard (damped or "
                "not), or leave `estimators` at [pairs]."
            )

    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        modes, n_iter = module.objective.modes, self.length(module)
        if not modes or n_iter == 0:
            return None
        at = self.worst_pair_at
        if at is not None and not all(0 <= t <= n_iter for t in at):
            raise ConfigError(
                f"`{type(self).__name__}.worst_pair_at` must lie in 0..{n_iter}, the iterations of "
                f"the curve, got {list(at)}."
            )
        return LipschitzCurveProbe(
            n_iter,
            modes,
            self.solver,
            self.double,
            estimators=self.estimators,
            refine=self.refine,
            worst_pair_at=at,
            worst_pair_steps=self.worst_pair_steps,
        )

    def columns(self, curve: LipschitzCurve) -> dict[str, list[float]]:
        return curve.columns()

    def settings(self, curve: LipschitzCurve) -> dict[str, Any]:
        return {
            **super().settings(curve),
            "estimators": list(self.estimators),
            "estimate": "from below",
            "refine": self.refine,
            "worst_pair_steps": self.worst_pair_steps,
            "n_samples": curve.n_samples,
            "aggregates": curve.aggregates,
            "target_slopes": curve.target_slopes,
        }

    def draw(self, curve: LipschitzCurve, title: str, trained: int) -> "Figure":
        return draw_lipschitz_curve(curve, title, trained)
