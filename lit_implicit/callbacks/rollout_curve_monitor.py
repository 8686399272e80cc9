"""What answers that take more than one solve are worth, against the number of iterations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_implicit.callbacks.monitor import AbstractMonitor, Columns
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes import AbstractProbe, RolloutCurve, RolloutCurveProbe
from lit_implicit.reporting.rollout_figure import draw_rollout_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RolloutCurveMonitor(AbstractMonitor):
    """Roll answers out, such as generated text, once at each listed t, and draw their scores.

    Only for tasks whose objective defines `rollout`; others it leaves alone, at no cost. Each
    answer is made by plain iteration, without a tolerance. What is measured is the task's; the
    scores at the last t are logged as `<stage>/rollout_<score>`, all of them written to
    `figures/<stage>_rollout_curve.csv`, and a few answers as they change with t to its JSON file.

    Args:
        times: The listed t, ascending from 1 on; an empty list switches the monitor off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.

    Raises:
        ConfigError: If the times do not ascend from 1 on, or a number is out of range.
    """

    file_name = "rollout_curve"

    def __init__(
        self,
        times: Sequence[int] = (1, 2, 4, 6, 8, 12, 16, 32, 64),
        every_n_epochs: int = 0,
        max_batches: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, max_batches)
        if list(times) != sorted(set(times)) or min(times, default=1) < 1:
            raise ConfigError(
                f"`RolloutCurveMonitor.times` must ascend from 1 on, got {list(times)}."
            )
        self.times = tuple(times)

    def make_probe(self, module: ImplicitLightningModule) -> AbstractProbe | None:
        objective = module.objective
        if not self.times or not is_overridden("rollout", objective, AbstractObjective):
            return None
        scores = {name: score.geometric for name, score in objective.rollout_scores.items()}
        return RolloutCurveProbe(self.times, scores)

    def columns(self, curve: RolloutCurve) -> Columns:
        return curve.columns()

    def settings(self, curve: RolloutCurve) -> dict[str, Any]:
        return {
            "n_samples": curve.n_samples,
            "batch_size": curve.batch_size,
            "geometric": "of the values above zero; `zero` is the share of the others",
            "answers": [dict(row) for row in curve.rows],
        }

    def scalars(self, curve: RolloutCurve) -> dict[str, float]:
        return {f"rollout_{name}": float(score.mean[-1]) for name, score in curve.scores.items()}

    def findings(self, curve: RolloutCurve) -> list[str]:
        lines = []
        for name, score in curve.scores.items():
            means = [(t, float(m)) for t, m in zip(curve.times, score.mean, strict=True)]
            if any(mean == mean for _, mean in means):  # not NaN: some sample has a value
                values = ", ".join(f"{mean:.4g} (t = {t})" for t, mean in means)
                lines.append(f"rollout: {name.replace('_', ' ')}, mean: {values}")
        return lines

    def draw(self, curve: RolloutCurve, title: str, trained: int) -> "Figure":
        return draw_rollout_curve(curve, title, trained)
