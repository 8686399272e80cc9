"""What is asked: the eccentric anomaly."""

from typing import Any

import torch
from torch import Tensor

from kepler.data import eccentric_anomaly
from lit_implicit import AbstractObjective, Mode, Perturbed


class KeplerObjective(AbstractObjective):
    """Predict E in radians; a batch is x = (M, e), shape (n, 2), and E, shape (n, 1)."""

    def inputs(self, batch: Any) -> Tensor:
        x: Tensor = batch[0]
        return x

    def n_samples(self, batch: Any) -> int:
        return len(batch[0])

    def target(self, batch: Any) -> Tensor:
        e: Tensor = batch[1]
        return e

    def loss(self, y: Tensor, batch: Any) -> Tensor:
        return (y - self.target(batch)).square().sum(1)

    def error(self, y: Tensor, batch: Any) -> Tensor:
        return self.distance(y, self.target(batch), batch)

    def distance(self, y: Tensor, y2: Tensor, batch: Any) -> Tensor:
        return (y - y2).abs().sum(1)

    @property
    def modes(self) -> dict[str, Mode]:
        return {"M": Mode("max"), "e": Mode("max")}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        x = self.inputs(batch).double()  # a step of 1e-4 would drown in float32
        step = torch.zeros_like(x)
        step[:, list(self.modes).index(mode)] = 1e-4
        target = eccentric_anomaly(x + step)[:, None]
        return Perturbed([x + step, target], step.norm(dim=1), torch.ones_like(x[:, 0]).bool())
