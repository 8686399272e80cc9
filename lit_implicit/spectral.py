"""A penalty on iterations that converge too slowly, or not at all: the spectral radius of dG/dz."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.layout import PerSample, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.regularizers import AbstractRegularizer, check_weight, generator_of_step
from lit_implicit.solvers import Solution


@dataclass(frozen=True)
class SpectralRadius(AbstractRegularizer):
    """Hold plain iteration convergent: penalise max(0, rho - limit)^2 where the solve ended.

    rho estimates the spectral radius of dG/dz, the factor by which an error shrinks at each
    iteration in the end; above 1 it grows. `JacobianNorm` shrinks all of dG/dz alike; this shrinks
    only what keeps the iteration from converging, and nothing where it converges fast enough.
    Costs one evaluation of G, `n_steps` vector-Jacobian products a step, and differentiating the
    last; G must be twice differentiable by autograd. Draws are a function of (seed, global step).

    Args:
        weight: Factor of the mean penalty in the loss; 0 only logs it.
        limit: Spectral radius up to which nothing is penalised. Leave room below 1: few steps of
            the power iteration see the most of rho, not all of it.
        n_steps: Steps of the power iteration.
        seed: Seed of its starts.

    Raises:
        ValueError: If `weight` is negative or not finite, `limit` not positive, or `n_steps`
            below 1.

    References:
        Yoshida and Miyato (2017), arXiv:1705.10941, penalise norms of weights so; here it is the
        Jacobian of the map that is iterated.
    """

    weight: float
    limit: float = 0.95
    n_steps: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self)
        if not self.limit > 0:
            raise ValueError(f"`SpectralRadius.limit` must be positive, got {self.limit}.")
        if self.n_steps < 1:
            raise ValueError(f"`SpectralRadius.n_steps` must be at least 1, got {self.n_steps}.")

    def penalty(self, g: AbstractMap, solution: Solution, step: int) -> PerSample:
        generator = generator_of_step(self.seed, step, solution.z.device)
        radius = growth_rate(g, solution.z, generator, self.n_steps)
        return (radius - self.limit).clamp(min=0).square()


def growth_rate(
    g: AbstractMap, z: Real, generator: torch.Generator | None = None, n_steps: int = 8
) -> PerSample:
    """Estimate the spectral radius of dG/dz of each sample at a state, with a gradient.

    To measure a trained model, `lit_implicit.probes.spectral_radius` is sharper, and tells when it
    does not know. This is for training: power iteration.

    It is that of the transpose, whose eigenvalues are the same: each step is one
    vector-Jacobian product on one graph of G. The estimate is the growth of the last step; the
    gradient flows through that step alone, as if its start were a constant. For a symmetric
    Jacobian it grows with the steps and stays below the radius, by some per cent where eigenvalues
    crowd at the top. One far from normal may be overestimated; a complex pair makes it waver.

    Args:
        g: The map, as `Equilibrium.solve` returns it; leave failed samples out by `g.select`.
        z: The state, a constant here: the gradient flows to parameters and context through G alone.
        generator: Source of the start, on any device; None means torch's default one.
        n_steps: Number of steps.

    Returns:
        Estimates, shape `(n,)`.

    Raises:
        ValueError: If `n_steps` is below 1.

    Example:
        >>> g, solution = layer.solve(x)
        >>> radius = growth_rate(g, solution.z)
    """
    if n_steps < 1:
        raise ValueError(f"`n_steps` must be at least 1, got {n_steps}.")
    layout, create_graph = g.layout, torch.is_grad_enabled()
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        gz = g(z)
    device = z.device if generator is None else generator.device
    vector = torch.randn(z.shape, generator=generator, device=device).to(z)
    for step in range(n_steps):
        # An entry of no size stays one: its sample's Jacobian is zero.
        size = layout.norm(vector)
        vector = vector / layout.spread(size.where(size > 0, 1.0), vector)
        # Autocast is for the forward pass: its products already carry the dtypes of their backward.
        with torch.autocast(z.device.type, enabled=False):
            (vector,) = torch.autograd.grad(
                gz, z, vector, create_graph=create_graph and step == n_steps - 1,
                retain_graph=True, materialize_grads=True,
            )  # fmt: skip
    return _norm(layout.dot(vector, vector))


def _norm(squares: Tensor) -> Tensor:
    """Return the root, with a gradient of zero where it is zero."""
    return squares.where(squares > 0, 1.0).sqrt().where(squares > 0, 0.0)
