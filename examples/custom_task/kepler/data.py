"""Orbits, and the solutions by Newton's method."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

from lit_implicit.data import EpochDataLoader


def eccentric_anomaly(x: Tensor) -> Tensor:
    """Solve E = M + e sin E for x = (M, e), shape (n, 2), in float64; M is in [0, pi]."""
    m, e = x.double().unbind(1)
    big_e = torch.full_like(m, torch.pi)  # from there Newton's steps go down to the solution
    for _ in range(50):
        big_e = big_e - (big_e - e * big_e.sin() - m) / (1 - e * big_e.cos())
    return big_e


class KeplerData(LightningDataModule):
    """Orbits with M in [0, pi], most of them near 0, where E is steep, and e in [0, e_max].

    Args:
        n_train: Orbits to train on.
        n_val: Orbits to validate on.
        n_test: Orbits to test on, and to predict.
        e_max: Largest eccentricity, at least 0 and below 1.
        batch_size: Orbits in a batch.
        seed: Seed of the orbits and of the order of training.

    Raises:
        ValueError: If `e_max` is out of range.
    """

    def __init__(
        self,
        n_train: int = 2048,
        n_val: int = 256,
        n_test: int = 256,
        e_max: float = 0.9,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= e_max < 1:
            raise ValueError(f"`KeplerData.e_max` must be at least 0 and below 1, got {e_max}.")
        self.sizes, self.e_max = (n_train, n_val, n_test), e_max
        self.batch_size, self.seed = batch_size, seed

    def setup(self, stage: str | None = None) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        u, v = torch.rand(2, sum(self.sizes), generator=generator)
        x = torch.stack([torch.pi * u**3, self.e_max * v], 1)
        orbits = TensorDataset(x, eccentric_anomaly(x).float()[:, None])
        self.splits = random_split(orbits, self.sizes, generator)

    def train_dataloader(self) -> DataLoader[Any]:
        data, size = self.splits[0], self.batch_size
        return EpochDataLoader(data, size, seed=self.seed, trainer=self.trainer)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.splits[1], batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.splits[2], batch_size=self.batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()
