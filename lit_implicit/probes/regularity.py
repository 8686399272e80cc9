"""Is a trained operator regular? Its contraction in z, its slope in x, and what they bound."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective, Mode
from lit_implicit.operator import FixedPointMap
from lit_implicit.probes.contraction import around, largest_eigenvalue, largest_singular_value
from lit_implicit.probes.derivatives import outside_inference
from lit_implicit.probes.input_slope import input_slopes, solution_slope
from lit_implicit.probes.map_pairs import FrozenModel, Pair
from lit_implicit.probes.probe import AbstractProbe
from lit_implicit.probes.regularity_report import RegularityReport
from lit_implicit.probes.shells import shell_slopes
from lit_implicit.probes.state_jacobian import StateJacobian
from lit_implicit.probes.statistics import largest_along
from lit_implicit.solvers import AbstractSolver, relative_residual

# Relative tolerance of solves whose differences are divided by small steps.
_TIGHT = {torch.float64: 1e-11}
_LOOSER = 1e-6


class RegularityProbe(AbstractProbe):
    """Collect the regularity report of a model over batches.

    A state counts as a fixed point if its relative residual is at most `rtol`; samples without one
    are left out and counted. Fixed points, also of perturbed inputs, are sought by the model's own
    solver with a tight tolerance. All is measured on a copy of the operator in float64, in
    evaluation mode. Sizes and slopes are those of states, not of answers read off them.

    The cost: `2 (len(radii) + 1) n_steps` products with the Jacobian of G or its transpose, and
    `n_steps` more; an evaluation of G per scale and mode; a solve, and one more per mode.

    Args:
        modes: The objective's modes, `objective.modes`; how they aggregate plays no part. Without
            any, or where the data hold no perturbations, the slope in x is not measured.
        n_steps: Krylov steps for the norm and the spectral radius of a Jacobian.
        radii: Sizes of random steps away from z*, relative to |z*|.
        scales: Multiples of z* at which the slope in x is measured; 0 and 1 among them.
        distances: Distances of shells to the singular set of the target (units of the task).
        max_iter: Most iterations of a solve, unless the solver's own are more.
        rtol: Relative residual up to which a state counts as a fixed point.
        max_samples: Most samples that are measured, per process; None means all.
        double: Compute in float64.
        seed: Seed of starts, steps and, where the task draws them here, of perturbations.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, definition of a regular operator and the necessity theorem.

    Example:
        >>> probe = RegularityProbe(objective.modes)
        >>> for batch in loader:
        ...     probe.update(equilibrium, objective, batch)
        >>> report = probe.compute()
        >>> report.contracting, report.growth_exponent, report.shell_exponent
    """

    shell_slope: Tensor
    shell_target_slope: Tensor

    def __init__(
        self,
        modes: Mapping[str, Mode],
        n_steps: int = 12,
        radii: Sequence[float] = (0.1, 1.0),
        scales: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 16.0, 64.0),
        distances: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
        max_iter: int = 200,
        rtol: float = 1e-4,
        max_samples: int | None = None,
        double: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, max_samples)
        self.modes, self.n_steps, self.radii = tuple(modes), n_steps, tuple(radii)
        self.scales, self.distances = tuple(scales), tuple(distances)
        self.max_iter, self.rtol, self.double_precision = max_iter, rtol, double
        self._check()
        n_radii, n_scales, n_modes = len(self.radii), len(self.scales), len(self.modes)
        self._shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("factor", "uncertainty", "spectral_radius"), ()),
            **dict.fromkeys(("factor_near", "quotient"), (n_radii,)),
            **dict.fromkeys(("size", "slope", "growth"), (n_scales,)),
            **dict.fromkeys(("bound", "measured", "valid"), (n_modes,)),
        }
        for name, shape in self._shapes.items():
            self.add_samples(name, *shape)
        for name in ("shell_slope", "shell_target_slope"):
            nothing = torch.full((len(self.distances),), -torch.inf)
            self.add_state(name, default=nothing, dist_reduce_fx="max")

    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Measure a batch."""
        with outside_inference():
            model = FrozenModel.of(equilibrium, self.double_precision, seed)
            g, z0 = model.bind(objective.inputs(batch))
            pairs = model.pairs(g, objective, batch, self.modes)
            solver = _tight(equilibrium.solver, self.max_iter, z0.dtype)
            z = solver.solve(g, z0).z
            gz = g(z)
            ratio = relative_residual(g.layout.norm(gz - z), g.layout.norm(gz))
            settled = ratio <= self.rtol
            size = 1.0
            if settled.any():
                if not settled.all():  # what is not finite must enter no graph
                    z = g.layout.select(z, settled)
                    g, pairs = g.select(settled), [pair.select(settled) for pair in pairs]
                factor = self._measure_contraction(g, z, seed)
                self._measure_slopes(g, z, factor, pairs, solver)
                size = float(g.layout.norm(z).median()) or 1.0
            found = shell_slopes(model, objective, batch, self.modes, self.distances, size)
            # No update in place: the probe may have been made in inference mode.
            self.shell_slope = self.shell_slope.maximum(found.slope.to(self.shell_slope))
            self.shell_target_slope = self.shell_target_slope.maximum(
                found.target_slope.to(self.shell_target_slope)
            )

    def result(self) -> RegularityReport:
        """Return the report on all samples seen."""
        parts = {name: self.kept(name) for name in self._shapes}
        parts["valid"] = parts["valid"].bool()
        seen = self.shell_slope >= 0
        return RegularityReport(
            **parts,
            radii=self.radii,
            scales=self.scales,
            modes=self.modes,
            distances=tuple(d for d, s in zip(self.distances, seen.tolist(), strict=True) if s),
            shell_slope=self.shell_slope[seen],
            shell_target_slope=self.shell_target_slope[seen],
            n_samples=int(self.n_samples),
            rtol=self.rtol,
        )

    def _measure_contraction(self, g: FixedPointMap, z: Tensor, seed: int) -> Tensor:
        """Measure dG/dz at z* and around it; return its norm at z*."""
        jacobian = StateJacobian(g, z)
        here = largest_singular_value(jacobian, self.n_steps, seed)
        radius = largest_eigenvalue(jacobian, self.n_steps, seed)
        near = [around(g, z, size, self.n_steps, seed) for size in self.radii]
        self.keep(
            factor=here.value,
            uncertainty=here.uncertainty,
            spectral_radius=torch.where(radius.settled, radius.value, torch.nan),
            factor_near=_columns([factor for factor, _ in near], here.value),
            quotient=_columns([quotient for _, quotient in near], here.value),
        )
        return here.value

    def _measure_slopes(
        self, g: FixedPointMap, z: Tensor, factor: Tensor, pairs: list[Pair], solver: AbstractSolver
    ) -> None:
        """Measure the slope in x at multiples of z*, and that of z* beside its bound."""
        size = _columns([scale * g.layout.norm(z) for scale in self.scales], factor)
        nothing = torch.full_like(size, torch.nan)
        if not pairs:
            none = nothing[:, :0]
            self.keep(size=size, slope=nothing, growth=nothing, bound=none, measured=none,
                       valid=none)  # fmt: skip
            return
        slope, growth = input_slopes(pairs, z, self.scales)
        bound = slope[:, :, self.scales.index(1.0)] / (1 - factor)[:, None]
        self.keep(
            size=size,
            slope=largest_along(slope, 1),
            growth=largest_along(growth, 1),
            bound=bound.where((factor < 1)[:, None], torch.nan),
            measured=torch.stack([solution_slope(p, z, factor, solver) for p in pairs], 1),
            valid=torch.stack([pair.valid for pair in pairs], 1).to(factor),
        )

    def _check(self) -> None:
        for name, value, allowed, least in (
            ("n_steps", self.n_steps, self.n_steps >= 1, "at least 1"),
            ("max_iter", self.max_iter, self.max_iter >= 1, "at least 1"),
            ("rtol", self.rtol, self.rtol > 0, "positive"),
            ("radii", self.radii, all(r > 0 for r in self.radii), "positive"),
            ("distances", self.distances, all(r > 0 for r in self.distances), "positive"),
            ("scales", self.scales, {0.0, 1.0} <= set(self.scales), "numbers with 0 and 1 among"),
        ):
            if not allowed:
                raise ValueError(f"`RegularityProbe.{name}` must be {least}, got {value}.")


def _tight(solver: AbstractSolver, max_iter: int, dtype: torch.dtype) -> AbstractSolver:
    """Return the solver with a tolerance near rounding and a budget to reach it."""
    tight: AbstractSolver = replace(  # type: ignore[type-var]
        solver,
        rtol=_TIGHT.get(dtype, _LOOSER),
        atol=0.0,
        max_iter=max(solver.max_iter, max_iter),
    )
    return tight


def _columns(values: list[Tensor], like: Tensor) -> Tensor:
    """Put values of samples side by side, `(n, len(values))`, also where there is none."""
    return torch.stack(values, 1) if values else like.new_zeros(len(like), 0)
