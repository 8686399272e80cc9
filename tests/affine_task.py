"""A task small enough for tests: z* of an affine contraction, z = W z + x, from samples of x.

It is importable as `affine_task` (pytest puts the folder of tests on the path).
"""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lit_implicit.objective import AbstractObjective, Mode, Perturbed
from lit_implicit.operator import AbstractOperator

DIM = 3


class AffineData(LightningDataModule):
    """Pairs (x, 2 x): the fixed points of z = z / 2 + x."""

    def __init__(self, n_samples: int = 8, batch_size: int = 4) -> None:
        super().__init__()
        self.n_samples, self.batch_size = n_samples, batch_size

    def _data(self, seed: int) -> DataLoader[Any]:
        x = torch.randn(self.n_samples, DIM, generator=torch.Generator().manual_seed(seed))
        data: Dataset[Any] = TensorDataset(x, 2 * x)
        return DataLoader(data, batch_size=self.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._data(0)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._data(1)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._data(2)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self._data(3)


class AffineObjective(AbstractObjective):
    """Mean squared error, with one mode of perturbation: of a drawn direction, or of that of x."""

    def __init__(self, drawn: bool = True) -> None:
        super().__init__()
        self.drawn = drawn

    def inputs(self, batch: Any) -> Tensor:
        return batch[0]

    def n_samples(self, batch: Any) -> int:
        return len(batch[0])

    def target(self, batch: Any) -> Tensor:
        return batch[1]

    def loss(self, y: Tensor, batch: Any) -> Tensor:
        return (y - batch[1]).square().mean(1)

    def error(self, y: Tensor, batch: Any) -> Tensor:
        return (y - batch[1]).norm(dim=1)

    def distance(self, y: Tensor, y2: Tensor, batch: Any) -> Tensor:
        return (y - y2).norm(dim=1)

    @property
    def modes(self) -> dict[str, Mode]:
        return {"input": Mode("max")}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        x, _ = batch
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        dx = 1e-3 * (drawn if self.drawn else x)
        valid = torch.ones(len(x), dtype=torch.bool)
        return Perturbed((x + dx, 2 * (x + dx)), dx.norm(dim=1), valid)


class AffineOperator(AbstractOperator):
    """G(z, x) = gain * tanh-free linear map of z + x."""

    def __init__(self, gain: float = 0.3) -> None:
        super().__init__()
        self.weight = nn.Parameter(gain * torch.eye(DIM))

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return z @ self.weight + c


class OtherAffineOperator(AffineOperator):
    """The same under another name."""


class AffineNetwork(nn.Module):
    """An explicit baseline."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, DIM, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)
