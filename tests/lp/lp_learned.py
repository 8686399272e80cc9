"""`LPPrimalDual` with weights as training might leave them, and its states at rest."""

import torch

from lit_implicit_lp.primal_dual import LPPrimalDual


def learned(steps, seed=0, size=0.3, **more):
    """An operator with weights as training might leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        operator = LPPrimalDual(steps, width=8, embedding=4, messages=3, **more).double()
    with torch.no_grad():
        for weight in operator.parameters():
            weight += size * torch.randn(weight.shape, generator=generator).double()
    return operator


def optimal_state(operator, c, y, dual):
    """The state that rests at an optimal pair."""
    values = torch.cat([y / c.primal, dual / c.dual])
    zeros = torch.zeros_like(values)
    columns = [values, zeros, zeros, values]
    return torch.stack(columns[: operator.init_state(c).shape[1]], dim=-1)
