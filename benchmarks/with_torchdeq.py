"""torchdeq by `get_deq`, with implicit gradients and the relative stop."""

from importlib.metadata import version
from typing import Any

import torch
import torchdeq

from problem import Answer, Map

NAME, VERSION = "torchdeq", version("torchdeq")
SOLVERS = {"picard": "fixed_point_iter", "anderson": "anderson", "broyden": "broyden"}


def _deq(method: str, rtol: float, max_iter: int, max_backward: int) -> Any:
    return torchdeq.get_deq(
        ift=True, f_solver=SOLVERS[method], b_solver=SOLVERS[method], f_max_iter=max_iter,
        b_max_iter=max_backward, f_tol=rtol, b_tol=rtol, f_stop_mode="rel", b_stop_mode="rel",
    )  # fmt: skip


def solve(g: Map, method: str, rtol: float, max_iter: int) -> Answer:
    """Solve without gradients."""
    deq = _deq(method, rtol, max_iter, 40).eval()
    with torch.no_grad():
        z, _ = deq(g, torch.zeros_like(g.x))
    return Answer(z[-1])


def train(
    g: Map, method: str, rtol: float, max_iter: int, max_backward: int, order: int = 1
) -> Answer:
    """Solve with exact implicit gradients; its writer hears of the backward solve."""
    heard: list[Any] = []
    deq = _deq(method, rtol, max_iter, max_backward).train()
    z, _ = deq(g, torch.zeros_like(g.x), backward_writer=heard.append)

    def report() -> bool | None:
        return bool((heard[-1]["rel_lowest"] <= rtol).all()) if heard else None

    return Answer(z[-1], report)


def unknown_keyword() -> None:
    """Set what does not exist."""
    torchdeq.get_deq(f_solver="anderson", no_such_setting=3)
