"""An affine map with a contraction factor for each sample, and fates for those that shall fail."""

import torch
from problems import Affine, matrix, random


class Rates(Affine):
    """z -> rate A z + b with a rate for each sample; it notes how many rows it is given."""

    def __init__(self):
        super().__init__(matrix(5, 1.0))
        self.rows = []

    def init_state(self, c, generator=None):
        return torch.zeros_like(c["b"])

    def forward(self, z, c):
        self.rows.append(len(z))
        gz = c["rate"][:, None] * (z @ self.a.T) + c["b"]
        # Samples fail once their state is no longer the start: by NaN, or by growth.
        late = (z != 0).any(1)
        gz = torch.where((late & (c["fate"] == 1))[:, None], float("nan"), gz)
        return torch.where((late & (c["fate"] == 2))[:, None], 1e9 * z, gz)


def rates(of_samples, fates=()):
    """An input with these rates; `fates` lists `(sample, 1 for NaN or 2 for growth)`."""
    rate = torch.tensor(of_samples).double()
    fate = torch.zeros(len(rate), dtype=torch.int64)
    for i, kind in fates:
        fate[i] = kind
    return {"b": random(len(rate), 5), "rate": rate, "fate": fate}
