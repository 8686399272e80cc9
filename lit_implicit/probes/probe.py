"""What all probes share: values per sample, merged over ranks of which some may have seen none."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.errors import NoSamplesError
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.iterates import seed_of_batch
from lit_implicit.tree import map_tensors


class _Sealed:
    """A result that torchmetrics hands on without looking inside."""

    def __init__(self, result: Any) -> None:
        self.result = result


class AbstractProbe(Metric):
    """A measurement of a model, batch by batch; `compute` merges the samples of all ranks.

    Subclasses declare what they keep of each sample by `add_samples`, append it by `keep` in
    `measure`, and read it by `kept` in `result`.

    Args:
        seed: Seed of what is drawn, for each batch of each rank another.
        max_samples: Most samples that are measured, per process; None means all.
    """

    full_state_update = False
    n_samples: Tensor

    def __init__(self, seed: int = 0, max_samples: int | None = None) -> None:
        super().__init__()
        if max_samples is not None and max_samples < 1:
            raise ValueError(
                f"`{type(self).__name__}.max_samples` must be at least 1, got {max_samples}."
            )
        self.seed, self.max_samples = seed, max_samples
        self._sample_shapes: dict[str, tuple[int, ...]] = {}
        self.add_state("n_samples", default=torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def measure(
        self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any, seed: int
    ) -> None:
        """Measure a batch; `seed` is its own."""

    @abstractmethod
    def result(self) -> Any:
        """Return the result over all samples seen, of which there is at least one."""

    def update(self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any) -> None:
        """Measure the model on a batch, or on as much of it as `max_samples` leaves room for.

        A batch that the task cannot select from (`objective.select`) is measured whole.
        """
        n = objective.n_samples(batch)
        if self.max_samples is not None and n > (room := self.max_samples - int(self.n_samples)):
            if room <= 0:
                return
            keep = torch.arange(n, device=objective.target(batch).device) < room
            with suppress(TypeError):  # `select_samples`, of a task that must define `select`
                batch, n = objective.select(batch, keep), room
        self.measure(equilibrium, objective, batch, seed_of_batch(self.seed, self.update_count))
        # No update in place: the probe may have been made in inference mode.
        self.n_samples = self.n_samples + n

    def compute(self) -> Any:
        """Return the result over all samples seen, on all ranks: on the CPU, to be drawn and saved.

        Raises:
            NoSamplesError: If there is none.
        """
        if not self.n_samples:
            raise NoSamplesError(
                f"`{type(self).__name__}` has measured no sample on any process. Call `update` "
                "with a batch first."
            )
        return map_tensors(lambda tensor: tensor.cpu(), self.result())

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Keep the axes of a result: torchmetrics takes them from tensors of one element."""
        wrapped = super()._wrap_compute(wraps(compute)(lambda: _Sealed(compute())))
        return wraps(compute)(lambda: wrapped().result)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Merge the ranks: one without a sample must agree with the others on axes and dtype."""
        for name in self._sample_shapes:
            if not getattr(self, name):
                setattr(self, name, [self._none(name)])
        super().sync(*args, **kwargs)

    def add_samples(self, name: str, *shape: int) -> None:
        """Declare a value of each sample, of the given shape."""
        self._sample_shapes[name] = shape
        self.add_state(name, default=[], dist_reduce_fx="cat")

    def keep(self, **values: Tensor) -> None:
        """Append values of samples, the first axis, by name: on the device of the probe."""
        for name, value in values.items():
            getattr(self, name).append(value.to(self.device, widest_dtype(self.device)))

    def kept(self, name: str) -> Tensor:
        """Return all values of a name, shape `(n, ...)`; there may be none."""
        values = getattr(self, name)
        if isinstance(values, list) and not values:
            return self._none(name)
        return dim_zero_cat(values)

    def _none(self, name: str) -> Tensor:
        dtype = widest_dtype(self.device)
        return torch.zeros(0, *self._sample_shapes[name], dtype=dtype, device=self.device)
