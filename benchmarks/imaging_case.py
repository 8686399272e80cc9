"""What is restored: a few photographs by one operator, its fixed point and gradients in float64."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_implicit import GMRES, Auto, Equilibrium, Implicit, JacobianFree, Picard, load
from lit_implicit.spectral import growth_rate
from lit_implicit.tree import map_tensors
from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.operator import AbstractImagingOperator
from lit_implicit_imaging.pgd import ImagingPGD

KINDS: dict[str, type[AbstractImagingOperator]] = {"hqs": ImagingHQS, "pgd": ImagingPGD}
IMPLICIT, JACOBIAN_FREE = "implicit", "Jacobian-free"
"""The gradients that a training step may aim at."""

_RATE = 0.9
"""Spectral radius of dG/dz with weights that nobody trained."""


@dataclass(eq=False)
class Case:
    """An operator and a batch, in float32, and what is known of both in float64.

    Args:
        name: What it is called in tables.
        operator: The operator G.
        batch: Photographs that are all blurred by one kernel, as deepinv has only one.
    """

    name: str
    operator: AbstractImagingOperator
    batch: ImagingBatch
    target: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.batch.target is None:
            raise ValueError("`Case.batch` must know its photographs (`target`), got None.")
        self.target = self.batch.target

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.target.device

    @property
    def parameters(self) -> list[Tensor]:
        """What is trained: logarithms of step size and noise level, then the denoiser's weights."""
        operator = self.operator
        return [operator.log_stepsize, operator.log_sigma, *operator.denoiser.parameters()]

    def loss(self, y: Tensor) -> Tensor:
        """Return the mean square of the error, the paper's loss."""
        return F.mse_loss(y, self.target)

    def psnr(self, y: Tensor) -> Tensor:
        """Return the peak signal-to-noise ratio of each image, in dB; white is 1."""
        return -10 * (y.double() - self.target).square().mean(dim=(1, 2, 3)).log10()

    def gradient_error(self, found: Sequence[Tensor], kind: str) -> float:
        """Return |g - g*| / |g*| over all parameters together, infinite where not finite.

        Args:
            found: A gradient for each of `parameters`.
            kind: Which gradient g* is: the exact one, or the Jacobian-free one at the fixed point.
        """
        exact = self.gradients[kind]
        ratio = float((_flat(found) - exact).norm() / exact.norm())
        return ratio if ratio < torch.inf else torch.inf

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Both gradients at the fixed point, in float64."""
        adjoints = {
            IMPLICIT: Implicit(GMRES(rtol=1e-9, max_iter=1000)),
            JACOBIAN_FREE: JacobianFree(),
        }
        case, found = self._in_float64, {}
        for kind, adjoint in adjoints.items():
            layer = Equilibrium(case.operator, _DEEP, adjoint)
            y, solution = layer(case.batch.x, z0=self.z_star)
            found[kind] = _flat(torch.autograd.grad(case.loss(y), case.parameters))
            left = solution.adjoint and solution.adjoint.relative_residual
            if left is not None and not bool((left < 1e-8).all()):
                raise RuntimeError(f"The adjoint system of {self.name} was not solved.")
        return found

    @cached_property
    def z_star(self) -> Tensor:
        """The fixed point, in float64.

        Raises:
            RuntimeError: If it is not found.
        """
        case = self._in_float64
        with torch.no_grad():
            z, solution = Equilibrium(case.operator, _DEEP)(case.batch.x)
        if not bool(solution.converged.all()):
            residual = float(solution.relative_residual.max())
            raise RuntimeError(
                f"The fixed point of {self.name} was not found in {_DEEP.max_iter} iterations: the "
                f"relative residual is {residual:.0e}. Choose another step size or noise level, or "
                "weights that were trained to converge."
            )
        return z

    @cached_property
    def spectral_radius(self) -> float:
        """What an error shrinks by at each plain iteration in the end, of the slowest image."""
        return _radius(self.operator, self.batch, self.z_star.to(self.target.dtype))

    @cached_property
    def _in_float64(self) -> "Case":
        operator = copy.deepcopy(self.operator).double()
        # The index of photographs is no number to be rounded.
        x, target = map_tensors(lambda t: t.double(), (self.batch.x, self.target))
        return Case(self.name, operator, replace(self.batch, x=x, target=target))


_DEEP = Auto(rtol=1e-11, max_iter=3000)


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.double().flatten() for part in parts])


def _radius(operator: AbstractImagingOperator, batch: ImagingBatch, z: Tensor) -> float:
    g, _ = Equilibrium(operator).bind(batch.x)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return float(growth_rate(g, z, generator, n_steps=30).max())


def untrained(operator: AbstractImagingOperator, batch: ImagingBatch) -> AbstractImagingOperator:
    """Scale the denoiser's last layer until plain iteration converges, but slowly; return G.

    Untrained weights are small: G would send all to zero, and each solver would be done at once.
    """
    tail: Any = operator.denoiser
    for _ in range(6):  # the fixed point moves with the scale
        with torch.no_grad():
            z, _ = Equilibrium(operator, Picard(rtol=1e-4, max_iter=100))(batch.x)
            tail.network.m_tail.weight.mul_(_RATE / _radius(operator, batch, z))
    return operator


def read_weights(
    path: Path, network: ImagingDRUNet
) -> tuple[ImagingDRUNet, AbstractImagingOperator | None]:
    """Return a trained denoiser, and the operator that it is part of, if it is of one.

    Args:
        path: A checkpoint of `lit-implicit fit`, or the state dict of an `ImagingDRUNet`.
        network: Takes the state dict.

    Raises:
        ValueError: If the file holds neither, or weights of another size.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if "state_dict" in content:
        parts = list(load(path).modules())
        operator = next((part for part in parts if isinstance(part, AbstractImagingOperator)), None)
        denoiser = next((part for part in parts if isinstance(part, ImagingDRUNet)), None)
        if denoiser is None:
            raise ValueError(f"The model in {path.name!r} has no `ImagingDRUNet`.")
        return denoiser, operator
    try:
        network.load_state_dict(content)
    except RuntimeError as err:
        raise ValueError(
            f"The weights in {path.name!r} do not fit an `ImagingDRUNet` of the given --channels "
            f"and --n_blocks: {str(err).splitlines()[1].strip()}"
        ) from err
    return network, None
