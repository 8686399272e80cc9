"""silva-networks by `solve_equilibrium`: per-sample Anderson, relative stops, best state, GMRES."""

from importlib.metadata import version
from typing import Any

import torch
from silva_networks.solvers import SolverConfig, solve_equilibrium

from problem import Answer, Map

NAME, VERSION = "silva-networks", version("silva-networks")


def _config(method: str, rtol: float, max_iter: int, **more: Any) -> Any:
    # Only Anderson knows of samples; the others refuse or ignore the setting.
    return SolverConfig(
        solver=method, max_iter=max_iter, tol=rtol, stop_mode="relative", return_best=True,
        anderson_batch_dims=int(method == "anderson"), backward_mode="implicit",
        backward_stop_mode="relative", **more,
    )  # fmt: skip


def solve(g: Map, method: str, rtol: float, max_iter: int) -> Answer:
    """Solve without gradients."""
    with torch.no_grad():
        return Answer(
            solve_equilibrium(g, torch.zeros_like(g.x), _config(method, rtol, max_iter)).z
        )


def train(
    g: Map, method: str, rtol: float, max_iter: int, max_backward: int, order: int = 1
) -> Answer:
    """Solve with exact implicit gradients; tensors that G touches must be listed."""
    config = _config(method, rtol, max_iter, backward_max_iter=max_backward, backward_tol=rtol)
    tensors = [t for t in (*g.parameters, g.x) if t.requires_grad]
    result = solve_equilibrium(g, torch.zeros_like(g.x), config, tensors=tensors)
    return Answer(result.z, lambda: bool(result.info["backward_converged"]))


def unknown_keyword() -> None:
    """Set what does not exist."""
    SolverConfig(no_such_setting=3)
