"""deepinv by `BaseOptim` around an iterator of our own, `DEQ=DEQConfig(...)`, early stop on."""

from importlib.metadata import version
from typing import Any

import torch
from deepinv.optim import BaseOptim, OptimIterator
from deepinv.optim.optimizers import AndersonAccelerationConfig, DEQConfig

from problem import Answer, Map, NotOffered

NAME, VERSION = "deepinv", version("deepinv")


class Iterator(OptimIterator):
    """One step, z -> G(z, y)."""

    def __init__(self, g: Map) -> None:
        super().__init__()
        self.g, self.part = g, g.module

    def forward(self, X: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"est": (self.g(X["est"][0]),), "cost": None}


def _model(g: Map, method: str, rtol: float, max_iter: int, max_backward: int) -> Any:
    if method == "broyden":
        raise NotOffered("no Broyden")
    accelerate = method == "anderson"
    return BaseOptim(
        Iterator(g), params_algo={"stepsize": 1.0, "lambda": 1.0, "beta": 1.0},
        trainable_params=[], max_iter=max_iter, crit_conv="residual", thres_conv=rtol,
        early_stop=True, custom_init=lambda y, physics: {"est": (torch.zeros_like(y),)},
        DEQ=DEQConfig(max_iter_backward=max_backward, anderson_acceleration_backward=accelerate),
        anderson_acceleration=AndersonAccelerationConfig() if accelerate else False,
    )  # fmt: skip


def solve(g: Map, method: str, rtol: float, max_iter: int) -> Answer:
    """Solve without gradients."""
    with torch.no_grad():
        return Answer(_model(g, method, rtol, max_iter, 50).eval()(g.x, None))


def train(
    g: Map, method: str, rtol: float, max_iter: int, max_backward: int, order: int = 1
) -> Answer:
    """Solve with exact implicit gradients."""
    return Answer(_model(g, method, rtol, max_iter, max_backward).train()(g.x, None))


def unknown_keyword() -> None:
    """Set what does not exist."""
    BaseOptim(OptimIterator(), params_algo={"stepsize": 1.0, "lambda": 1.0}, no_such_setting=3)
