"""Points of a target's domain for training, validation and test."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lit_implicit.data import DTYPES, EpochDataLoader, batch_options, check_data_arguments
from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule
from lit_implicit_scalar.points import SPLITS, ScalarBatch, draw_points, make_batch
from lit_implicit_scalar.targets import TARGETS, TargetName, find_target


class ScalarDataModule(LightningDataModule):
    """Points x of the domain of a function F, with F(x); each split has points of its own.

    Args:
        target: The function: reciprocal (1/x on [-1, 1] without 0), reciprocal_positive (1/x on
            (0, 1]), log, sqrt, tan, gamma or figure_one.
        n_train: Points to train on, at least 2.
        n_val: Points to validate on, at least 2.
        n_test: Points to test on, and to predict, at least 2.
        points: `uniform` draws them; `grid` spaces them evenly, that of the test including the ends
            of the domain.
        closest: Least distance of a point to a singular one (units of x).
        seed: Seed of uniform points and of the order of training, at least 0.
        batch_size: Points in a batch of training, per process.
        eval_batch_size: Points in a batch of validation, test and prediction.
        dtype: Precision of the points; operators without parameters compute in it.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        target: TargetName = "reciprocal_positive",
        n_train: int = 4096,
        n_val: int = 1024,
        n_test: int = 1024,
        points: Literal["uniform", "grid"] = "uniform",
        closest: float = 1e-2,
        seed: int = 0,
        batch_size: int = 256,
        eval_batch_size: int = 1024,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        find_target(target, "ScalarDataModule.target")
        self.target: str = target
        self.n_points = {"train": n_train, "val": n_val, "test": n_test}
        self.points, self.closest, self.seed = points, closest, seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.dtype = dtype
        self._check()
        self._batches: dict[str, ScalarBatch] = {}

    def setup(self, stage: str | None = None) -> None:
        """Make all splits, and refuse a model that cannot do what is asked with this target.

        Raises:
            ConfigError: If the operator is made for another target, `fit` has nothing to train, or
                points come so close to a singular one that the precision cannot hold them.
        """
        if self.trainer is not None:
            self._check_model(self.trainer.lightning_module, stage)
        for split, n in self.n_points.items():
            x = draw_points(TARGETS[self.target], split, n, spread=self.points,
                            closest=self.closest, seed=self.seed)  # fmt: skip
            # F of the point as the model will see it, rounded as it is.
            dtype = DTYPES[self.dtype]
            x = x.to(dtype).double()
            batch = make_batch(x, self.target)
            batch.x, batch.target = batch.x.to(dtype), batch.target.to(dtype)
            self._check_points(split, x, batch.target)
            self._batches[split] = batch

    def batch(self, split: str) -> ScalarBatch:
        """Return a whole split, after `setup`."""
        return self._batches[split]

    def train_dataloader(self) -> Any:
        """Return the training batches, in an order that is a function of (seed, epoch)."""
        return EpochDataLoader(
            _Points(self._batches["train"]),
            self.batch_size,
            seed=self.seed,
            trainer=self.trainer,
            **batch_options(),
        )

    def val_dataloader(self) -> Any:
        """Return the validation batches, always in the same order."""
        return self._evaluation("val")

    def test_dataloader(self) -> Any:
        """Return the test batches, always in the same order."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Any:
        """Return the test batches."""
        return self.test_dataloader()

    def _evaluation(self, split: str) -> Any:
        points = _Points(self._batches[split])
        # By keyword: Lightning makes the loader again for `predict`, and fails on positions.
        return DataLoader(points, batch_size=self.eval_batch_size, **batch_options())

    def _check_model(self, module: Any, stage: str | None) -> None:
        if not isinstance(module, ImplicitLightningModule):
            return
        operator = module.operator
        name = type(operator).__name__
        made_for = getattr(operator, "target_names", None)
        if made_for is not None and self.target not in made_for:
            raise ConfigError(
                f"`data.target` is {self.target!r}, but `model.operator`, {name}, is made for "
                f"{' or '.join(made_for)}. Give both the same target."
            )
        if stage == "fit" and not any(p.requires_grad for p in module.parameters()):
            raise ConfigError(
                f"`model.operator`, {name}, has no parameters to train. Measure it as it is, by "
                "`lit-implicit test` or `lit-implicit curve`, or train ScalarMLP."
            )

    def _check_points(self, split: str, x: Tensor, values: Tensor) -> None:
        """Refuse points that rounding put onto a singular point or out of the domain."""
        target = TARGETS[self.target]
        inside = torch.zeros_like(x, dtype=torch.bool)
        for low, high in target.intervals:
            inside |= (x >= low) & (x <= high)
        wrong = ~(inside & (target.distance(x) > 0) & values.isfinite())
        if wrong.any():
            raise ConfigError(
                f"`data.closest` {self.closest} is too small for `data.dtype` {self.dtype}: "
                f"{int(wrong.sum())} of {len(x)} points ({split}) are rounded to where "
                f"{target.formula} has no finite value, as {float(x[wrong][0])!r}. Give a greater "
                "distance, or float64."
            )

    def _check(self) -> None:
        least = {f"n_{split}": (self.n_points[split], 2) for split in SPLITS}
        check_data_arguments(self, least, {"points": (self.points, ("uniform", "grid"))})
        # 0.5 is half of the shortest interval between two singular points.
        if not 0 < self.closest < 0.5:
            raise ValueError(
                f"`ScalarDataModule.closest` must lie in (0, 0.5), got {self.closest}."
            )


class _Points(Dataset[ScalarBatch]):
    """The points of a split, fetched a batch at a time."""

    def __init__(self, batch: ScalarBatch) -> None:
        self.whole = batch

    def __len__(self) -> int:
        return len(self.whole.x)

    def __getitem__(self, index: int) -> ScalarBatch:
        return self.whole.select(torch.tensor([index]))

    def __getitems__(self, indices: list[int]) -> ScalarBatch:
        return self.whole.select(torch.tensor(indices))
