"""What is asked of a model that finds steady flows: its loss, error and perturbations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lit_implicit.errors import DataError
from lit_implicit.objective import AbstractObjective, Mode, Perturbed
from lit_implicit.predictions import read_tables
from lit_implicit_flow.batch import FlowInput
from lit_implicit_flow.equation import force_of_curl, linearized
from lit_implicit_flow.gallery import draw_flows, draw_iterates
from lit_implicit_flow.measures import (
    MeanOverFlows,
    equation_residual,
    norm,
    relative_error,
    velocity_error,
)
from lit_implicit_flow.modes import FREQUENCIES, STEP, is_first, mode_name, wave
from lit_implicit_flow.output import write_flows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lit_implicit.solvers import Solution


class FlowObjective(AbstractObjective):
    """Find the vorticity of the steady flow under a force.

    Loss and error are the relative 2-norm |y - w| / |w|, the paper's. An answer y and the target w
    are in units of `vorticity_scale`, forces in units of `force_scale`; the residual of the
    equation is computed in its own units.

    Args:
        frequencies: Perturbations, as shares of the largest wavenumber N / 2, each between 0 and 1.
            Those that have the same wavenumber at the data's resolution count once.
        step: 2-norm of a perturbation of the target, in units of `vorticity_scale`.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, steady Navier-Stokes.
    """

    def __init__(self, frequencies: Sequence[float] = FREQUENCIES, step: float = STEP) -> None:
        super().__init__()
        self.frequencies = tuple(dict.fromkeys(frequencies))
        for frequency in self.frequencies:
            if not 0 < frequency < 1:
                raise ValueError(
                    "`FlowObjective.frequencies` must be shares of the largest wavenumber, above "
                    f"0 and below 1, got {frequency}; the paper's are {list(FREQUENCIES)}."
                )
        if not 0 < step < float("inf"):
            raise ValueError(f"`FlowObjective.step` must be positive, got {step}.")
        self.step = step

    def inputs(self, batch: Any) -> FlowInput:
        """Return forces, viscosities and units."""
        x: FlowInput = batch.x
        return x

    def n_samples(self, batch: Any) -> int:
        """Return the number of flows."""
        return len(batch.index)

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the flows in `keep`."""
        return batch.select(keep)

    def keys(self, batch: Any) -> Tensor | None:
        """Return each sample's number in its split, shape `(n,)`; None where it is shifted.

        With `data.shifts` a number stands for another place in each epoch, which must not start
        from the state of the last one.
        """
        return batch.index if batch.repeats else None

    def target(self, batch: Any) -> Tensor:
        """Return the true vorticities, shape `(n, 1, N, N)`.

        Raises:
            DataError: If nobody knows them.
        """
        if batch.target is None:
            name = batch.names[0] if batch.names else ""
            raise DataError(
                f"The flow under the force of {name!r} is not known, so there is no error to "
                "measure: use `lit-implicit predict`."
            )
        target: Tensor = batch.target
        return target

    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return the relative 2-norm of each flow's error."""
        return relative_error(y, self.target(batch))

    def error(self, y: Any, batch: Any) -> Tensor:
        """Return the relative 2-norm of each flow's error."""
        return relative_error(y, self.target(batch))

    @property
    def scores(self) -> Mapping[str, Callable[[Any, Any], Tensor]]:
        """Relative error of the velocity, and relative residual of the equation."""
        return {"velocity_error": self._velocity_error, "equation_residual": equation_residual}

    def metrics(self) -> MetricCollection:
        """Return the means of both scores."""
        return MetricCollection({name: MeanOverFlows(f) for name, f in self.scores.items()})

    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return the 2-norm of the difference of two answers."""
        return norm(y - y2)

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Waves of the paper's frequencies; it takes the largest ratio over flows."""
        return {mode_name(f): Mode(aggregate="max") for f in self.frequencies}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Add sin(k x + k y) to the flows, and to the forces what holds the sum steady.

        The linearised equation says by how much the force's curl changes, and a plane wave does not
        advect itself: the perturbed flow solves the whole equation, up to the cut at wavenumber
        N / 2. The change of the force is divergence-free and of mean zero, the least one with that
        curl. Nothing is drawn. Frequencies whose wavenumber another one has already are not valid.

        Raises:
            KeyError: If the mode is not one of `modes`.
        """
        known = {mode_name(f): f for f in self.frequencies}
        if mode not in known:
            raise KeyError(f"{type(self).__name__} has no mode {mode!r}; known: {list(known)}.")
        x, target = batch.x, self.target(batch)
        side = target.shape[-1]
        moved = wave(known[mode], side, self.step, target).expand_as(target)
        w, change = x.physical_vorticity(target), x.physical_vorticity(moved)
        force = force_of_curl(linearized(w, change, x.viscosity))
        force = force / x.force_scale[:, None, None, None]
        changed = replace(x, force=x.force + force)
        size = norm(force)
        valid = (size > 0) & is_first(known[mode], self.frequencies, side)
        return Perturbed(replace(batch, x=changed, target=target + moved), size, valid)

    def leaves(self, x: Any) -> tuple[Tensor, ...]:
        """Return the forces: viscosities and units are held."""
        return (x.force,)

    def with_leaves(self, x: Any, leaves: Sequence[Tensor]) -> Any:
        """Return the input with other forces."""
        (force,) = leaves
        return replace(x, force=force)

    def figures(self, y: Any, batch: Any) -> Mapping[str, "Figure"]:
        """Draw force, truth, answer, error, residual and streamlines of a few flows."""
        return {"answer": draw_flows(y, batch)}

    @property
    def times(self) -> Sequence[int]:
        """A first step, a few, and many."""
        return (1, 4, 16, 50)

    def figures_over_iterations(
        self, iterates: Mapping[int, Any], y: Any, batch: Any
    ) -> Mapping[str, "Figure"]:
        """Draw the truth, some iterates and the answer side by side."""
        return {"iterates": draw_iterates(iterates, y, batch)}

    def write(self, y: Any, solution: "Solution | None", batch: Any, folder: Path) -> None:
        """Write the flows as arrays, and a table of them with iterations and residuals."""
        write_flows(y, solution, batch, folder)

    def summary(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Return a row for each flow that was written."""
        return read_tables(folder, "flows_*.csv")

    def _velocity_error(self, y: Any, batch: Any) -> Tensor:
        return velocity_error(y, self.target(batch))
