"""What was measured of an operator's regularity, and the numbers that follow."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.probes.statistics import fit_exponent, largest_along, largest_of, mean_of

# What a quotient over a finite step may exceed a bound of first order by.
_SLACK = 0.01
# A slope that sets in at some |z| and is linear from there on has an exponent a hair above 1.
_LINEAR = 1.1
# 1 / sqrt(distance) is the mildest growth that matters; a bounded slope has an exponent near 0.
_UNBOUNDED = -0.25


@dataclass(eq=False)  # torchmetrics copies what `compute` returns, and cannot copy frozen ones
class RegularityReport:
    """How far an operator is from regular: measured on samples, all estimates from below.

    A regular operator is a contraction in z for each x, with a factor mu(x) < 1, and globally
    Lipschitz in x for each z, with a constant of at most a + b |z|. m is the number of samples at
    whose fixed points was measured; sizes of states are 2-norms; NaN is what could not be measured.

    Args:
        factor: |dG/dz|_2 at z*, shape `(m,)`.
        uncertainty: How far each has settled, relatively; see `Estimate`.
        spectral_radius: Of dG/dz at z*, shape `(m,)`; NaN where it has not settled.
        radii: Sizes of random steps away from z*, relative to |z*|.
        factor_near: |dG/dz|_2 there, shape `(m, radii)`.
        quotient: |G(z* + step) - G(z*)| / |step|, shape `(m, radii)`.
        scales: Multiples s of z* at which G(s z*, .) was measured.
        size: |s z*|, shape `(m, scales)`.
        slope: |G(s z*, x + d) - G(s z*, x)| / |d|, the largest of the modes, `(m, scales)`.
        growth: What s z* adds to the slope at z = 0, by `slope_growth`, shape `(m, scales)`.
        modes: Names of the modes of perturbation.
        bound: The same quotient at z* over 1 - mu, by mode: `(m, modes)`; NaN where mu >= 1.
        measured: |z*(x + d) - z*(x)| / |d|, shape `(m, modes)`; NaN where it was not resolved.
        valid: Pairs of a sample and a mode that exist, shape `(m, modes)`.
        distances: Distances of shells to the singular set of the target (units of the task);
            empty where the task states none.
        shell_slope: Largest slope of G(z, .) on each shell, for z = 0 and one of fixed size.
        shell_target_slope: Largest slope of the target there.
        n_samples: Number of samples that were tried.
        rtol: Relative residual up to which a state counts as a fixed point.

    References:
        arXiv:2510.03638, definition of a regular operator and the necessity theorem.
    """

    factor: Tensor
    uncertainty: Tensor
    spectral_radius: Tensor
    radii: tuple[float, ...]
    factor_near: Tensor
    quotient: Tensor
    scales: tuple[float, ...]
    size: Tensor
    slope: Tensor
    growth: Tensor
    modes: tuple[str, ...]
    bound: Tensor
    measured: Tensor
    valid: Tensor
    distances: tuple[float, ...]
    shell_slope: Tensor
    shell_target_slope: Tensor
    n_samples: int
    rtol: float

    @property
    def n_left_out(self) -> int:
        """Samples whose solve ended away from a fixed point."""
        return self.n_samples - len(self.factor)

    @property
    def contracting(self) -> float:
        """Share of the samples at whose fixed points G contracts."""
        return mean_of((self.factor < 1).float())

    @property
    def slope_at_fixed_point(self) -> Tensor:
        """Slope of G(z*, .), shape `(m,)`."""
        return self.slope[:, self.scales.index(1.0)]

    @property
    def growth_exponent(self) -> float:
        """Exponent q of largest growth ~ |z|^q between the two largest scales.

        0 where the slope does not depend on z, NaN where it was not measured.
        """
        scales = torch.tensor(self.scales, dtype=torch.float64)
        largest = largest_along(self.growth.cpu().double(), 0)
        last = scales.argsort()[-2:]
        return fit_exponent(scales[last], largest[last])

    @property
    def grows_at_most_linearly(self) -> bool | None:
        """Whether the slope in x does, as regularity asks; None where it was not measured."""
        exponent = self.growth_exponent
        return None if math.isnan(exponent) else exponent <= _LINEAR

    @property
    def envelope(self) -> tuple[float, float]:
        """The least (a, b), a first, with slope <= a + b |z| at all that was measured."""
        a = largest_of(self.slope[:, self.scales.index(0.0)])
        return a, largest_of(((self.slope - a) / self.size).clamp(min=0))

    @property
    def shell_exponent(self) -> float:
        """Exponent p of slope ~ distance^p on the three closest shells; NaN where there is none."""
        distances = torch.tensor(self.distances, dtype=torch.float64)
        closest = distances.argsort()[:3]
        return fit_exponent(distances[closest], self.shell_slope.cpu()[closest])

    @property
    def bounded(self) -> bool | None:
        """Whether the slope in x is, towards the singular set; None where it was not measured."""
        exponent = self.shell_exponent
        return None if math.isnan(exponent) else exponent >= _UNBOUNDED

    @property
    def applicable(self) -> Tensor:
        """Pairs to which the bound applies (mu < 1) and whose z* was resolved, `(m, modes)`."""
        return self.bound.isfinite() & self.measured.isfinite()

    @property
    def n_not_applicable(self) -> int:
        """Pairs without a bound, as G does not contract there."""
        return int((self.valid & (self.factor >= 1)[:, None]).sum())

    @property
    def n_unresolved(self) -> int:
        """Pairs with a bound, whose two fixed points were not found accurately enough."""
        return int((self.valid & (self.factor < 1)[:, None] & ~self.measured.isfinite()).sum())

    @property
    def tightness(self) -> Tensor:
        """Measured slope of z* over its bound, for the pairs that have both; 1 is tight."""
        ratio = self.measured[self.applicable] / self.bound[self.applicable]
        return ratio[ratio.isfinite()]

    @property
    def holds(self) -> float:
        """Share of these pairs on which the bound holds, to a per cent."""
        return mean_of((self.tightness <= 1 + _SLACK).float())

    def columns(self) -> dict[str, list[float]]:
        """Return what was measured of each sample as columns of a table."""
        columns = {
            "sample": torch.arange(len(self.factor)).double(),
            "contraction_factor": self.factor,
            "spectral_radius": self.spectral_radius,
        }
        for number, radius in enumerate(self.radii):
            columns[f"contraction_factor_at_{radius:g}"] = self.factor_near[:, number]
            columns[f"difference_quotient_at_{radius:g}"] = self.quotient[:, number]
        columns["state_size"] = self.size[:, self.scales.index(1.0)]
        for number, scale in enumerate(self.scales):
            columns[f"lipschitz_x_at_{scale:g}"] = self.slope[:, number]
        for number, mode in enumerate(self.modes):
            columns[f"bound_{mode}"] = self.bound[:, number]
            columns[f"solution_slope_{mode}"] = self.measured[:, number]
        return {name: values.tolist() for name, values in columns.items()}
