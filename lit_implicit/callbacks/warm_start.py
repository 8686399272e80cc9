"""Start each training solve where that of the same sample ended an epoch ago."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lit_implicit.callbacks.state_table import Numbers, Samples, StateTable
from lit_implicit.callbacks.training_solve import AbstractTrainingSolve
from lit_implicit.errors import ConfigError, ObjectiveError
from lit_implicit.layout import AbstractLayout
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.objective import AbstractObjective
from lit_implicit.solvers import Solution

_GIB = 2**30


class WarmStart(AbstractTrainingSolve):
    """Give a training solve the last state of each of its samples as initial iterate.

    The weights have moved little since the last epoch, so that state is near the new fixed point,
    and a solve that stops at its tolerance needs fewer iterations. A sample without a state starts
    from `init_state`: one that was not seen yet, or whose last solve failed.

    Use it where solves converge inside their budget. Where the budget ends first, and with
    `Unrolled`, iterations add up from epoch to epoch: what is trained is then the end of a longer
    iteration than the one that is tested. Validation, test and prediction always start from
    `init_state`: a start near the answer would hide that there is no way to it.

    The states are part of checkpoints, so a run that is resumed goes on exactly. Several processes
    tell each other their states before each validation and at the end of each epoch. A checkpoint
    written in between (on a signal, or every so many steps) has those of the first process alone:
    what the others saw since then starts from its older state, or from none.

    Memory, and size in each checkpoint: the bytes of one state, times the samples of the training
    set, in each process: `n_train * dim * 4` for a state `(n, dim)` in float32. While the table
    grows, in the first epoch, it may take two and a half times as much; a checkpoint, as it is
    written, takes a copy.

    The objective says who is who (`AbstractObjective.keys`).

    Args:
        device: Where the states are kept: on the `cpu`, or on the device of the `model`. Either
            way a training step waits for the device three times more, to learn the samples' keys,
            which rows are theirs, and which of them failed.
        max_bytes: Most memory that the states may need; more is refused as soon as it is known.
        fresh_share: Probability that a sample starts from `init_state` all the same, in [0, 1).
            With short budgets, what is trained is then good early and late: both the way from the
            start and the fixed point that it leads to.
        seed: Seed of that draw, a function of (seed, global step), the same on all ranks.

    Raises:
        ConfigError: If an argument is out of range; as training starts, for an explicit model or
            an objective without keys.

    References:
        Anil et al. (2022), arXiv:2211.09961, for mixed starts.
    """

    def __init__(
        self,
        device: Literal["cpu", "model"] = "cpu",
        max_bytes: int = 8 * _GIB,
        fresh_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        if device not in ("cpu", "model"):
            raise ConfigError(f"`WarmStart.device` must be 'cpu' or 'model', got {device!r}.")
        if not 0 <= fresh_share < 1:
            raise ConfigError(f"`WarmStart.fresh_share` must lie in [0, 1), got {fresh_share}.")
        if max_bytes < 1:
            raise ConfigError(f"`WarmStart.max_bytes` must be at least 1, got {max_bytes}.")
        self.device, self.max_bytes = device, max_bytes
        self.fresh_share, self.seed = fresh_share, seed
        self._table: StateTable | None = None
        self._loaded: dict[str, Any] = {}
        self._pending: list[tuple[Samples, AbstractLayout, Tensor, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the states of the checkpoint, or with none; refuse models without a solve."""
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, ImplicitLightningModule)
        device = pl_module.device if self.device == "model" else torch.device("cpu")
        self._table, self._pending = StateTable(device, self.max_bytes), []
        self._table.update(self._loaded)
        self._loaded = {}
        objective = pl_module.objective
        pl_module.train_start = lambda batch, layout, z0: self._start(
            objective, batch, layout, z0, trainer.global_step
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep what the last step found."""
        self._keep_pending()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the other processes, before the checkpoint that follows a validation."""
        self._exchange(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the other processes, to whom other samples fall in the next epoch."""
        self._exchange(trainer)

    def reset(self, module: ImplicitLightningModule) -> None:
        """Start every solve from `init_state` again."""
        module.train_start = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states, as tensors. Nothing is asked of other processes: see `save_last`."""
        if self._table is None:
            return self._loaded
        self._keep_pending()
        return dict(self._table.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states of a checkpoint until training starts."""
        self._table, self._loaded = None, state_dict

    def _start(
        self,
        objective: AbstractObjective,
        batch: Any,
        layout: AbstractLayout,
        z0: Tensor,
        step: int,
    ) -> tuple[Tensor, Callable[[Solution], None]]:
        """Return the start of a solve, and what is to be done with its solution."""
        keys = _keys(objective, batch)
        if len(keys) != layout.n:
            return z0, lambda solution: None  # the module refuses such a solve in its own words
        assert self._table is not None
        samples = Samples.of(keys, layout, z0)
        known, rows = self._table.read(samples, z0)
        if self.fresh_share:
            drawn = np.random.default_rng([self.seed, step]).random(len(keys))
            warm = known & (drawn >= self.fresh_share)
            rows = rows[torch.from_numpy(warm[samples.owner[known[samples.owner]]]).to(rows.device)]
            known = warm
        if known.any():
            z0 = layout.put(z0, torch.from_numpy(known).to(z0.device), rows)

        def keep(solution: Solution) -> None:
            # Not yet: where samples failed, the others are solved for again, from the same start.
            self._pending.append((samples, layout, solution.z.detach(), solution.failed))

        return z0, keep

    def _keep_pending(self) -> None:
        assert self._table is not None
        for samples, layout, z, failed in self._pending:
            sound = (~failed & layout.norm(z).isfinite()).cpu().numpy()
            self._table.forget(samples.keys[~sound])
            kept = sound & samples.is_first()
            rows = layout.select(z, torch.from_numpy(kept).to(z.device))
            self._table.write(samples.select(kept), rows)
        self._pending = []

    def _exchange(self, trainer: Trainer) -> None:
        """Let each process tell all others what is new; where two have a sample, the last wins."""
        if self._table is None or trainer.world_size == 1:
            return
        self._keep_pending()
        mine = self._table.changes()
        parts = [trainer.strategy.broadcast(mine, src=rank) for rank in range(trainer.world_size)]
        for part in parts:
            self._table.update(part)


def _keys(objective: AbstractObjective, batch: Any) -> Numbers:
    """Return the keys of a batch, on the host, refusing what is none."""
    name, n = f"{type(objective).__name__}.keys", objective.n_samples(batch)
    given = objective.keys(batch)
    if given is None:
        raise ConfigError(
            f"`WarmStart` needs to know which sample is which, but `{name}` returns None. Return "
            "the index of each sample in the training set, or remove `WarmStart`."
        )
    got = f"{given.dtype} of shape {tuple(given.shape)}"
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if whole and given.shape == (n,):
        keys = given.cpu().numpy().astype(np.int64)
        if keys.min(initial=0) >= 0:
            return keys
        got = f"{keys.min()}"
    raise ObjectiveError(
        f"`{name}` must return a whole number from 0 on for each sample, int64 of shape ({n},), "
        f"got {got}. Return the sample's index in the training set."
    )
