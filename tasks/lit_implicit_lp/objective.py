"""What is asked of a network that solves linear programs: its loss, error and perturbations."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lit_implicit.errors import ConfigError
from lit_implicit.layout import Ragged, widest_dtype
from lit_implicit.objective import AbstractObjective, Mode, Perturbed
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.generator import FEATURES, MODES
from lit_implicit_lp.metrics import ErrorSpread, ObjectiveGap, Violation, relative_error
from lit_implicit_lp.output import draw_solutions, write_predictions
from lit_implicit_lp.proofs import TOLERANCE
from lit_implicit_lp.solution import primal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_implicit.solvers import Solution

_FLOOR = 1e-6
"""An error below this is none."""


class LPObjective(AbstractObjective):
    """Predict the solution of a linear program.

    The answer is a tensor of all solutions y, or an `LPSolution`, whose duals and steps play no
    part in losses and errors.

    Args:
        loss: `mse`, the paper's: the mean over a program's variables of the squared difference; or
            `relative`: the squared error, `(|y - y*| / (|y*| + 1))^2`; or `log`: the logarithm of
            the error. In training that is the logarithm of the batch's mean error, of which each
            program has its share, so that steps with few iterations, where errors are large, count
            as much as those with many; in evaluation it is each program's own.
        rtol: Relative residual up to which `predict` calls the answer to a file's program optimal;
            the operator stops by a tolerance of its own.

    Raises:
        ValueError: If the loss is unknown, or `rtol` is not positive.

    References:
        arXiv:2510.03638, linear programming.
    """

    def __init__(
        self, loss: Literal["mse", "relative", "log"] = "relative", rtol: float = TOLERANCE
    ) -> None:
        super().__init__()
        if loss not in ("mse", "relative", "log"):
            raise ValueError(
                f"`LPObjective.loss` must be 'mse', 'relative' or 'log', got {loss!r}."
            )
        if not rtol > 0:
            raise ValueError(f"`LPObjective.rtol` must be positive, got {rtol}.")
        self.kind, self.rtol = loss, rtol

    def inputs(self, batch: Any) -> LPFeatures:
        """Return the programs' data, without solutions."""
        return LPFeatures.of(batch)

    def n_samples(self, batch: Any) -> int:
        """Return the number of programs."""
        return int(batch.num_graphs)

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the batch of the programs in `keep` (`(n,)`, boolean), in the same order."""
        # Whoever has a batch has imported this; whoever only loads a model need not wait for PyG.
        from lit_implicit_lp.graph import select_programs

        return select_programs(batch, keep)

    def keys(self, batch: Any) -> Tensor:
        """Return each program's number in its stream, shape `(n,)`."""
        index: Tensor = batch.index
        return index

    def target(self, batch: Any) -> Tensor:
        """Return the exact solutions, shape `(n_variables,)` over all programs."""
        target: Tensor = batch.target
        return target

    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return the loss of each program."""
        if self.kind == "log":
            error = self.error(y, batch)
            if not self.training:
                return error.clamp(min=_FLOOR).log()
            # A mean of logarithms ended at larger errors (results/lp): programs that are all but
            # solved then count as much as those that make up the mean.
            mean = error.detach().mean().clamp(min=_FLOOR)
            # To first order, and with the value and the gradient of log(mean) in the mean.
            return mean.log() + (error - mean) / mean
        if self.kind == "relative":
            size: Tensor = (self._norm(batch.target, batch) + 1) ** 2
        else:
            size = batch.ptr.diff()
        return self._squares(y, batch) / size

    def error(self, y: Any, batch: Any) -> Tensor:
        """Return `|y - y*| / (|y*| + 1)` of each program, in 2-norms."""
        return relative_error(y, batch)

    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return the 2-norm of the difference of two solutions y; duals do not count."""
        return self._norm(primal(y) - primal(y2), batch)

    @property
    def modes(self) -> Mapping[str, Mode]:
        """The five features that can be perturbed; the paper takes means over programs."""
        return dict.fromkeys(MODES, Mode(aggregate="mean"))

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Apply the perturbation that the data module drew and solved; nothing is drawn here.

        The perturbed feature and the target come in float64, whatever the batch's precision: a
        float32 bound cannot hold a change of 1e-5 to better than some percent. (Apple's GPUs know
        no float64; there they stay as they are.) Programs that have no solution any more (or whose
        bounds cross) are not valid and keep their target.

        Raises:
            KeyError: If the mode is not one of `modes`.
            ConfigError: If the data module did not solve the perturbed programs of this split.
        """
        if mode not in FEATURES:
            raise KeyError(f"{type(self).__name__} has no mode {mode!r}; known: {list(MODES)}.")
        if f"delta_{mode}" not in batch:
            raise ConfigError(
                f"This batch has no perturbation of mode {mode!r}. Add the split to "
                "`data.perturb_splits` (val or test) and the mode to `data.perturb_modes`."
            )
        moved = copy.copy(batch)
        feature = FEATURES[mode]
        wide = widest_dtype(batch.c.device)
        delta = batch[f"delta_{mode}"].to(wide)
        moved[feature] = batch[feature] + delta
        moved.target = batch.target + batch[f"shift_{mode}"].to(wide)
        for name in list(moved.to_dict()):
            if name.startswith(("delta_", "shift_", "valid_")):
                del moved[name]
        owner = {"A": batch.batch[batch.edge_index[1]], "b": batch.constraint_batch}
        layout = Ragged(owner.get(mode, batch.batch), batch.num_graphs)
        return Perturbed(moved, layout.norm(delta), batch[f"valid_{mode}"])

    def leaves(self, x: LPFeatures) -> tuple[Tensor, ...]:
        """Return c, the finite lower and upper bounds, b and the nonzeros of A."""
        return x.leaves()

    def with_leaves(self, x: LPFeatures, leaves: Sequence[Tensor]) -> LPFeatures:
        """Return the programs with other data, in the order of `leaves`."""
        return x.with_leaves(leaves)

    def leaf_layouts(self, x: LPFeatures) -> tuple[Ragged, ...]:
        """Say which program each entry of each leaf belongs to."""
        return x.leaf_layouts()

    def metrics(self) -> MetricCollection:
        """Return the spread of the error, the violation and the gap of the objective value."""
        return MetricCollection(
            {"error_std": ErrorSpread(), "violation": Violation(), "objective_gap": ObjectiveGap()}
        )

    def figures(self, y: Any, batch: Any) -> Mapping[str, "Figure"]:
        """Draw the predicted against the exact solution for the first programs of the batch."""
        return {"solutions": draw_solutions(primal(y), batch, self.error(y, batch))}

    def write(self, y: Any, solution: "Solution | None", batch: Any, folder: Path) -> None:
        """Write `programs_*.csv`, a row per program, and `solutions_*.csv`, one per variable.

        The number in a file's name is the index of its first program. Programs of MPS files have a
        `<name>.lp.json` each.
        """
        if "files" in batch:
            from lit_implicit_lp.mps_output import write_programs  # not before: it brings PyG

            write_programs(y, solution, batch, self.rtol, folder)
            return
        write_predictions(primal(y), solution, batch, self.error(y, batch), folder)

    def summary(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Return a row per program of an MPS file."""
        from lit_implicit_lp.mps_output import table_rows

        return table_rows(folder)

    def _norm(self, y: Tensor, batch: Any) -> Tensor:
        return _layout(batch).norm(y)

    def _squares(self, y: Any, batch: Any) -> Tensor:
        difference = primal(y) - batch.target
        return _layout(batch).dot(difference, difference)


def _layout(batch: Any) -> Ragged:
    return Ragged(batch.batch, batch.num_graphs)
