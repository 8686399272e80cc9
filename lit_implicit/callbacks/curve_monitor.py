"""What the monitors of curves over iterations share."""

import math
from typing import Any

from lit_implicit.callbacks.monitor import AbstractMonitor, Columns
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.probes.iterates import iteration_of
from lit_implicit.solvers import AbstractSolver, Picard


class AbstractCurveMonitor(AbstractMonitor):
    """Measure a curve over iterations t, every few epochs on validation data and in each test.

    In TensorBoard: its values at t = 1, 2, 4, ... over the epochs as `val_curve/<name>_t<t>`; of a
    test, the whole curve as `test_curve/<name>` with t as the step; and a figure. In the run
    directory: `figures/<stage>_<file_name>.csv`, `.json` and `.png`.

    Args:
        n_iter: Number T of iterations; None means twice the training budget. 0 switches the monitor
            off.
        every_n_epochs: Epochs from one measurement on validation data to the next; 0 means never.
        max_batches: Most batches that are measured; None means all.
        solver: The iteration; None means plain Picard iteration.

    Raises:
        ConfigError: If a number is out of range.
    """

    followed: tuple[str, ...]
    """Columns (by the beginning of their names) that are followed over the epochs."""

    def __init__(
        self,
        n_iter: int | None = None,
        every_n_epochs: int = 5,
        max_batches: int | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__(every_n_epochs, max_batches)
        self._check(n_iter=(n_iter, 0))
        self.n_iter, self.solver = n_iter, solver

    def length(self, module: ImplicitLightningModule) -> int:
        """Return the number T of iterations for a model; 0 switches off."""
        return 2 * module.solver.max_iter if self.n_iter is None else self.n_iter

    def iteration(self) -> str:
        return f", by {iteration_of(self.solver or Picard())}"

    def settings(self, result: Any) -> dict[str, Any]:
        return {"solver": repr(self.solver or Picard())}

    def log_columns(self, board: Any, stage: str, columns: Columns, epoch: int) -> None:
        for name, values in columns.items():
            if name == "t":
                continue
            if stage == "test":
                for t, value in enumerate(values):
                    if not math.isnan(value):  # not measured at this t
                        board.add_scalar(f"test_curve/{name}", value, t)
            elif name.startswith(self.followed):
                t = 1
                while t < len(values):
                    if not math.isnan(values[t]):
                        board.add_scalar(f"{stage}_curve/{name}_t{t}", values[t], epoch)
                    t *= 2
