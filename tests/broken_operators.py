"""Operators that break their contract, each in one way, for the affine task."""

import math

import torch
from affine_task import DIM, AffineData, AffineOperator
from torch import nn

from lit_implicit.layout import Dense, Ragged


class GrowsShape(AffineOperator):
    def forward(self, z, c):
        return torch.cat([z, z], dim=1)


class ChangesDtype(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c).double()


class ReturnsNone(AffineOperator):
    def forward(self, z, c):
        super().forward(z, c)


class ReturnsTuple(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c), c


class StartsWithNone(AffineOperator):
    def init_state(self, c, generator=None):
        return None


class StartsWithIntegers(AffineOperator):
    def init_state(self, c, generator=None):
        return torch.zeros(c.shape, dtype=torch.int64)


class StartsInDouble(AffineOperator):
    def init_state(self, c, generator=None):
        return torch.zeros_like(c).double()


class StartsElsewhere(AffineOperator):
    def init_state(self, c, generator=None):
        return torch.zeros_like(c, device="meta")


class StartsWithOneRow(AffineOperator):
    def init_state(self, c, generator=None):
        return torch.zeros(1, DIM)


class DropsSamples(AffineOperator):
    def encode(self, x):
        return x[1:]


class LaysOutTooMany(AffineOperator):
    def layout(self, z, c):
        return Dense(len(z) + 1)


class LaysOutNothing(AffineOperator):
    def layout(self, z, c):
        return len(z)


class IndexesOutOfRange(AffineOperator):
    def layout(self, z, c):
        return Ragged(torch.arange(len(z)), len(z) - 1)


class StopsForAll(AffineOperator):
    def stop(self, z, gz, c):
        return torch.tensor(True)


class DecodesMean(AffineOperator):
    """Its one row would be broadcast by the loss, in silence."""

    def decode(self, z, c):
        return z.mean(0, keepdim=True)


class Exhausted(AffineOperator):
    def forward(self, z, c):
        return next(iter(()))


class Exits(AffineOperator):
    def forward(self, z, c):
        raise SystemExit(0)


class DecodesNone(AffineOperator):
    def decode(self, z, c):
        pass


class NaNEverywhere(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c) * math.nan


class NaNForSome(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 0, math.nan, 1.0)


class Expanding(AffineOperator):
    def __init__(self):
        super().__init__(gain=3.0)


class DecodesNaN(AffineOperator):
    """Sound solves, and a readout that leaves its domain."""

    def decode(self, z, c):
        return z + (z.abs() + 1).neg().log()


class DecodesNaNByWeight(AffineOperator):
    """The same, and the NaN reaches the weights by way of the gradient."""

    def decode(self, z, c):
        return z + (self.weight.abs().sum() + 1).neg().log()


class FunctionalDropout(AffineOperator):
    def forward(self, z, c):
        return super().forward(nn.functional.dropout(z, 0.1, self.training), c)


class Noisy(AffineOperator):
    def forward(self, z, c):
        return super().forward(z, c) + 1e-3 * torch.randn_like(z)


class Counting(AffineOperator):
    def __init__(self):
        super().__init__()
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, z, c):
        self.n_calls += 1
        return super().forward(z, c) * (1 + 0.01 * self.n_calls)


_LAST: dict[str, torch.Tensor] = {}


class Caching(AffineOperator):
    """Answers with what it computed at the call before, wherever it was."""

    def forward(self, z, c):
        gz = super().forward(z, c)
        last, _LAST["gz"] = _LAST.get("gz", gz), gz
        return last if last.shape == gz.shape else gz


class DividesByZero(AffineOperator):
    def forward(self, z, c):
        return z / (1 // 0)


class MultipliesWrongShapes(AffineOperator):
    def forward(self, z, c):
        return z @ self.weight[:2]


class NaNData(AffineData):
    """Every record of the training data is NaN in its first number."""

    def _data(self, seed):
        loader = super()._data(seed)
        if seed == 0:
            loader.dataset.tensors[0][:, 0] = math.nan
        return loader
