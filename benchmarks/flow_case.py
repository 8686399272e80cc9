"""A batch of steady flows and the paper's operator, with the gradients that a step must find."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import yaml
from torch import Tensor

from lit_implicit import GMRES, AbstractOperator, Auto, Equilibrium, Implicit, JacobianFree, load
from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.loading import CONFIG_KEY
from lit_implicit.spectral import growth_rate
from lit_implicit.tree import map_tensors
from lit_implicit_flow.batch import FlowBatch
from lit_implicit_flow.data import FlowDataModule
from lit_implicit_flow.fno import FlowFNO
from lit_implicit_flow.objective import FlowObjective

EXACT, PHANTOM = "exact", "phantom"
"""The gradients that a training step may aim at."""

STEPS, DAMPING = 3, 0.8
"""Of phantom gradients: the paper's."""

RATE = 0.9
"""Spectral radius of dG/dz with weights that nobody trained, of the slowest flow."""

_MOST = 100
"""Steps by which the lifting grows at most, each by a fifth."""

_DEEP = Auto(rtol=1e-9, max_iter=3000)


@dataclass(eq=False)
class FlowCase:
    """An operator and a batch in float32, and what is known of both in float64.

    Args:
        operator: The operator G.
        batch: Forces with their flows.
    """

    operator: AbstractOperator
    batch: FlowBatch

    @property
    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return list(self.operator.parameters())

    def loss(self, y: Tensor) -> Tensor:
        """Return the mean of the relative errors."""
        return FlowObjective().loss(y, self.batch).mean()

    def gradient_error(self, found: Sequence[Tensor], kind: str) -> float:
        """Return |g - g*| / |g*| over all parameters together, infinite where not finite.

        Args:
            found: A gradient for each of `parameters`.
            kind: Which gradient g* is: the exact one, or the phantom one at the fixed point.
        """
        exact = self.gradients[kind]
        ratio = float((_flat(found) - exact).norm() / exact.norm())
        return ratio if ratio < torch.inf else torch.inf

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Both gradients at the fixed point, from solves in float64.

        Raises:
            RuntimeError: If the fixed point or the exact gradient is not found.
        """
        # The numbers of flows are not to be rounded.
        x, target = map_tensors(lambda t: t.double(), (self.batch.x, self.batch.target))
        batch = replace(self.batch, x=x, target=target)
        case = FlowCase(copy.deepcopy(self.operator).double(), batch)
        adjoints = {
            EXACT: Implicit(GMRES(rtol=1e-6, max_iter=1000)),
            PHANTOM: JacobianFree(STEPS, DAMPING),
        }
        with torch.no_grad():
            z_star = _DEEP.solve(*Equilibrium(case.operator).bind(x)).z
        found = {}
        for kind, adjoint in adjoints.items():
            y, solution = Equilibrium(case.operator, _DEEP, adjoint)(x, z0=z_star)
            found[kind] = _flat(torch.autograd.grad(case.loss(y), case.parameters))
            left = solution.adjoint and solution.adjoint.relative_residual
            solved = left is None or bool((left < 1e-5).all())
            if not solved or not bool(solution.converged.all()):
                raise RuntimeError(
                    f"The fixed point or its {kind} gradient was not found. Take weights that were "
                    "trained to converge."
                )
        return found

    @property
    def spectral_radius(self) -> float:
        """What an error shrinks by at each plain iteration in the end, of the slowest flow."""
        with torch.no_grad():
            g, z0 = Equilibrium(self.operator).bind(self.batch.x)
            z = Auto(rtol=1e-5, max_iter=60).solve(g, z0).z
            return float(growth_rate(g, z, torch.Generator().manual_seed(0), n_steps=30).max())


def _flat(parts: Sequence[Tensor]) -> Tensor:
    real = [torch.view_as_real(p) if p.is_complex() else p for p in parts]
    return torch.cat([part.double().flatten() for part in real])


def untrained(operator: FlowFNO, batch: FlowBatch) -> FlowFNO:
    """Scale the lifting until plain iteration converges, but slowly; return G.

    Drawn weights make a G that has no fixed point to be found. The larger the injection, the less
    of G is left beside it.

    Raises:
        RuntimeError: If the lifting has grown enough and it does not converge yet.
    """
    few = FlowCase(operator, batch.select(batch.index < 4))
    for _ in range(_MOST):
        if few.spectral_radius <= RATE:
            return operator
        with torch.no_grad():
            operator.frame.lift.weight.mul_(1.2)
    raise RuntimeError(
        f"With drawn weights, plain iteration converges at no lifting of {_MOST} that were tried. "
        "Give trained ones by `--weights`."
    )


def data_of(path: Path) -> FlowDataModule:
    """Return the data module of a checkpoint's run, with its settings.

    Raises:
        CheckpointError: If it cannot be read.
    """
    settings = yaml.safe_load(read_checkpoint(path)[CONFIG_KEY])["data"]
    return FlowDataModule(**settings.get("init_args", settings))


def trained(path: Path) -> AbstractOperator:
    """Return the operator of a checkpoint of `lit-implicit fit`.

    Raises:
        ValueError: If it holds none.
    """
    for part in load(path).modules():
        if isinstance(part, AbstractOperator):
            return part
    raise ValueError(f"The model in {path.name!r} has no operator.")
