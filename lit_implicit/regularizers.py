"""Penalties that make an operator easier to solve for, taken at the fixed point while training."""

import math
import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.adjoints import AbstractAdjoint
from lit_implicit.layout import PerSample, Real
from lit_implicit.operator import AbstractMap
from lit_implicit.solvers import Solution


class AbstractRegularizer(ABC):
    """A penalty on a solved batch, once per training step, beside the objective's loss.

    `ImplicitLightningModule` adds `weight` times its mean over the samples to the loss, and logs
    that mean, without the weight, as `train/<name>`. It sees no sample whose solve failed.
    """

    weight: float

    @property
    def name(self) -> str:
        """Name in the logs: that of the class in snake case, such as `jacobian_norm`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def check(self, adjoint: AbstractAdjoint) -> None:  # noqa: B027
        """Refuse an adjoint whose gradients do not suit, by a ValueError; the default takes all."""

    @abstractmethod
    def penalty(self, g: AbstractMap, solution: Solution, step: int) -> PerSample:
        """Return the penalty of each sample, shape `(n,)`, with a gradient to the parameters.

        Args:
            g: The map z -> G(z, x) that was solved, with its own context: nothing is encoded anew.
            solution: Its solution.
            step: Global optimiser step. What is drawn must be a function of it and of a seed, so
                that a resumed run draws the same.
        """


@dataclass(frozen=True)
class JacobianNorm(AbstractRegularizer):
    """Keep G contractive: penalise |dG/dz|_F^2 / dim at the fixed point, by `jacobian_norm`.

    Fewer iterations then reach the same tolerance, forward and backward. Costs one evaluation of G
    and `n_probes` vector-Jacobian products a step, and differentiating these; G must be twice
    differentiable by autograd (fused attention kernels are not: choose torch's `MATH` backend).
    The probes are a function of (seed, global step): all ranks draw the same ones, for samples of
    their own, and batches whose gradients are accumulated share them.

    Args:
        weight: Factor of the mean penalty in the loss; 0 only logs it.
        n_probes: Random probes of each step; one is enough for training.
        seed: Seed of the probes.

    Raises:
        ValueError: If `weight` is negative or not finite, or `n_probes` below 1.

    References:
        Bai, Koltun and Kolter (2021), arXiv:2106.14342.
    """

    weight: float
    n_probes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self)
        _check_n_probes("JacobianNorm.n_probes", self.n_probes)

    def penalty(self, g: AbstractMap, solution: Solution, step: int) -> PerSample:
        generator = generator_of_step(self.seed, step, solution.z.device)
        return jacobian_norm(g, solution.z, generator, self.n_probes)


def check_weight(regularizer: AbstractRegularizer) -> None:
    """Refuse a weight that is negative or not finite, by a ValueError."""
    if not 0 <= regularizer.weight < math.inf:
        raise ValueError(
            f"`{type(regularizer).__name__}.weight` must be at least 0 and finite, got "
            f"{regularizer.weight}."
        )


def generator_of_step(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Return the source of what a penalty draws: a function of (seed, global step)."""
    # torch keeps 32 bits of a seed on the CPU; text is hashed, so that both numbers reach them.
    seed = random.Random(f"{seed}, {step}").getrandbits(32)
    return torch.Generator(device).manual_seed(seed)


def jacobian_norm(
    g: AbstractMap, z: Real, generator: torch.Generator | None = None, n_probes: int = 1
) -> PerSample:
    """Estimate |dG/dz|_F^2 / dim of each sample at a state, without bias.

    Hutchinson's estimate: the mean of |v^T dG/dz|^2 over probes v of random signs. Of all probes
    with independent entries these have the least variance, and none where the rows of dG/dz are
    orthogonal. One evaluation of G, and a vector-Jacobian product per probe; under `torch.no_grad`
    without a graph.

    Args:
        g: The map, as `Equilibrium.solve` returns it; leave failed samples out by `g.select`.
        z: The state, a constant here: the gradient flows to parameters and context through G alone.
        generator: Source of the probes, on any device; None means torch's default one.
        n_probes: Number of probes.

    Returns:
        Estimates, shape `(n,)`: dim is the number of entries in the state of that sample, and a
        sample of none has 0.

    Raises:
        ValueError: If `n_probes` is below 1.

    Example:
        >>> g, solution = layer.solve(x)
        >>> penalty = jacobian_norm(g, solution.z).mean()

    References:
        Hutchinson (1990), Commun. Stat. Simul. 19(2), doi:10.1080/03610919008812866.
    """
    _check_n_probes("n_probes", n_probes)
    create_graph, layout = torch.is_grad_enabled(), g.layout
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        gz = g(z)
    squares = []
    for _ in range(n_probes):
        # Autocast is for the forward pass: its products already carry the dtypes of their backward.
        with torch.autocast(z.device.type, enabled=False):
            (product,) = torch.autograd.grad(
                gz, z, _signs(z, generator), create_graph=create_graph, retain_graph=True,
                materialize_grads=True,
            )  # fmt: skip
        squares.append(layout.dot(product, product))
    ones = torch.ones_like(z, requires_grad=False)
    return torch.stack(squares).mean(0) / layout.dot(ones, ones).clamp(min=1)


def _signs(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw -1 or 1 for each entry of a state, on the generator's device."""
    device = z.device if generator is None else generator.device
    drawn = torch.randint(0, 2, z.shape, generator=generator, device=device)
    return (2 * drawn - 1).to(z)


def _check_n_probes(name: str, n_probes: int) -> None:
    if n_probes < 1:
        raise ValueError(f"`{name}` must be at least 1, got {n_probes}.")
