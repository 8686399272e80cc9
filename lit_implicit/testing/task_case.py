"""A task with its arguments, from its name to a batch, made step by step as checks ask for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from lit_implicit import registry
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import AbstractOperator
from lit_implicit.task import TaskSpec

_SAMPLES = 4
SPLITS = ("train", "val", "test")


@dataclass(eq=False)
class TaskCase:
    """What task checks are given.

    Args:
        task: Name of an installed task, or a spec.
        data_args: Arguments of the data module.
        objective_args: Arguments of the objective.
        operator_args: Arguments of operators and baselines, by their names in the spec.
        folder: Where runs may write.
    """

    task: str | TaskSpec
    data_args: Mapping[str, Any]
    objective_args: Mapping[str, Any]
    operator_args: Mapping[str, Mapping[str, Any]]
    folder: Path
    checkpoint: Path | None = field(default=None, init=False)
    """The checkpoint that `fit` has left."""

    def __str__(self) -> str:
        return f"task {self.name}"

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task if isinstance(self.task, str) else "(spec)"

    @cached_property
    def spec(self) -> TaskSpec:
        """The description of the task."""
        return registry.get(self.task) if isinstance(self.task, str) else self.task

    @cached_property
    def classes(self) -> Mapping[str, Any]:
        """The classes, by the field of the spec that names them."""
        return registry.load_classes(self.name, self.spec)

    @cached_property
    def data(self) -> LightningDataModule:
        """The data module, prepared and set up for all stages."""
        return self.make_data()

    @cached_property
    def objective(self) -> AbstractObjective:
        """The objective."""
        objective: AbstractObjective = self.classes["objective"](**self.objective_args)
        return objective

    @cached_property
    def batch(self) -> Any:
        """The first few samples of the test data, whose perturbations have labels if any have."""
        batch = next(iter(self.data.test_dataloader()))
        n = self.objective.n_samples(batch)
        if n <= _SAMPLES:
            return batch
        try:
            return self.objective.select(batch, torch.arange(n) < _SAMPLES)
        except Exception:  # what is wrong, `objective.select` tells
            return batch

    def make_data(self) -> LightningDataModule:
        """Make the data module anew."""
        data: LightningDataModule = self.classes["data"](**self.data_args)
        data.prepare_data()
        for stage in ("fit", "validate", "test", "predict"):
            data.setup(stage)
        return data

    def make(self, kind: str, name: str) -> nn.Module:
        """Make an operator or a baseline.

        Args:
            kind: `operators` or `baselines`.
            name: Its name in the spec.
        """
        torch.manual_seed(0)
        module: nn.Module = self.classes[f"{kind}.{name}"](**self.operator_args.get(name, {}))
        return module

    @cached_property
    def trainable(self) -> tuple[str, AbstractOperator] | None:
        """The first operator that has something to train, with its name."""
        for name in self.spec.operators:
            operator = self.make("operators", name)
            assert isinstance(operator, AbstractOperator)
            if any(p.requires_grad for p in operator.parameters()):
                return name, operator
        return None
