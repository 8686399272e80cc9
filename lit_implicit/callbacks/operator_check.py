"""Whether G is a function: asked once, on the first training batch of a fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lit_implicit.errors import ConfigError, OperatorError
from lit_implicit.layout import AbstractLayout
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.operator import AbstractOperator, held_still

# A CPU sums in a fixed order, and two calls agree to the bit or nearly so. On a GPU sums by atomics
# (`index_add`, `scatter`) come in any order; where they cancel, a rounding of 1e-7 may well be
# 1e-4 of what is left. A fresh mask or fresh noise changes far more than that.
_RTOL_CPU, _RTOL_DEVICE = 1e-5, 1e-3
_ROUNDINGS = 16  # in half precision, the rounding unit itself is larger


class OperatorCheck(Callback):
    """Refuse an operator whose G is no function: one that answers differently when called again.

    Functional dropout, noise, counters and caches within G are such; nothing converges then, and
    gradients are those of another map. On the first training batch of each fit G is called three
    times, as in a solve, under the autocast of the run; random states and buffers are put back.
    What G returns (shape, dtype, None) is looked at too. `null` in the config switches it off.

    Args:
        rtol: Relative difference of two answers that counts as rounding; None means 1e-5 on a CPU
            and 1e-3 elsewhere, more in half precision.

    Raises:
        ConfigError: If `rtol` is not positive.
    """

    def __init__(self, rtol: float | None = None) -> None:
        if rtol is not None and not rtol > 0:
            raise ConfigError(f"`OperatorCheck.rtol` must be positive, got {rtol}.")
        self.rtol = rtol
        self._is_due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have it done at the next batch."""
        self._is_due = isinstance(pl_module, ImplicitLightningModule)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask, once."""
        if not self._is_due:
            return
        self._is_due = False
        assert isinstance(pl_module, ImplicitLightningModule)
        operator, autocast = pl_module.operator, trainer.precision_plugin.forward_context()
        with isolate_rng(), _same_buffers(operator), torch.no_grad(), autocast:
            g, z0 = pl_module.train_equilibrium.bind(pl_module.objective.inputs(batch))
            with held_still(operator):
                z = g(z0)  # not at the start, often zero, where a mask changes nothing
                first, second = g(z), g(z)
        off, allowed = _gap(g.layout, first, second), self._allowed(z, trainer)
        if off > allowed:
            raise OperatorError(
                f"`{type(operator).__name__}.forward` is no function: called twice with the same "
                f"(z, c), its answers differ by {off:.1e} of their size; up to {allowed:.1e} is "
                "rounding. Draw masks and noise once in `encode`, and keep no counter or cache "
                "that the answer depends on. (`operator_check: null` switches this check off.)"
            )

    def _allowed(self, z: Tensor, trainer: Trainer) -> float:
        if self.rtol is not None:
            return self.rtol
        kind = z.device.type
        with trainer.precision_plugin.forward_context():
            half = torch.is_autocast_enabled(kind)
            dtype = torch.get_autocast_dtype(kind) if half else z.dtype
        rtol = _RTOL_CPU if kind == "cpu" else _RTOL_DEVICE
        return max(rtol, _ROUNDINGS * torch.finfo(dtype).eps)


def _gap(layout: AbstractLayout, a: Tensor, b: Tensor) -> float:
    """Return the largest relative difference of a sample; NaN agrees with NaN.

    Samples far smaller than the others of the batch are held against those.
    """
    size = layout.norm(a.nan_to_num(0.0, 0.0, 0.0))
    off = layout.norm(torch.where(a.isnan() & b.isnan() | (a == b), 0.0, a - b).nan_to_num(1e30))
    return float((off / (size + size.mean()).clamp(min=1e-30)).max())


@contextmanager
def _same_buffers(operator: AbstractOperator) -> Iterator[None]:
    """Put the buffers back: statistics of `encode`, vectors of spectral norms."""
    kept = [(buffer, buffer.clone()) for buffer in operator.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
