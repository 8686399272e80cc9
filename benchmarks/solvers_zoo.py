"""The problems by name, each made when its turn comes."""

from collections.abc import Callable

import torch

from solvers_graphs import graph_network, primal_dual
from solvers_networks import fourier_layer, proximal_step, transformer_block
from solvers_problems import Problem, TanhMLP, affine_problem, draw

FACTORS, SCALES, SIZES = (0.5, 0.9, 0.99), (1e-3, 1.0, 1e3), (128, 4096)
QUICK = ("affine 0.9, x 1e+00, 16 x 128", "tanh MLP, 64 x 256")
NOT_TRAINED = ("LP, primal-dual steps",)
"""There is nothing to train in it."""
Make = Callable[[torch.device], Problem]


def problems(quick: bool) -> dict[str, Make]:
    """Return the problems, or the few of a quick run."""
    found: dict[str, Make] = {}
    for dim in SIZES:
        for factor in FACTORS:
            for scale in SCALES:
                name = f"affine {factor}, x {scale:.0e}, 16 x {dim}"
                found[name] = _affine(name, factor, scale, dim)
    for name, make in (
        ("tanh MLP, 64 x 256", tanh_mlp),
        ("LP, primal-dual steps", primal_dual),
        ("LP, graph network", graph_network),
        ("proximal step, DRUNet", proximal_step),
        ("Fourier layer, 4 x 16 x 32 x 32", fourier_layer),
        ("transformer block, 8 x 32 x 128", transformer_block),
    ):
        found[name] = _named(name, make)
    return {name: make for name, make in found.items() if not quick or name in QUICK}


def trained(quick: bool) -> tuple[str, ...]:
    """Return the names of the problems that training and evaluation are measured on."""
    names = [name for name in problems(quick) if name not in NOT_TRAINED]
    affine = [f"affine {factor}, x 1e+00, 16 x {dim}" for factor in (0.9, 0.99) for dim in SIZES]
    return tuple(name for name in names if not name.startswith("affine") or name in affine)


def _affine(name: str, factor: float, scale: float, dim: int) -> Make:
    return lambda device: affine_problem(name, factor, scale, dim, device)


def _named(name: str, make: Callable[[str, torch.device], Problem]) -> Make:
    return lambda device: make(name, device)


def tanh_mlp(name: str, device: torch.device) -> Problem:
    """Return a two-layer network with tanh, contracting by 0.95 at most."""
    x = 0.3 * draw(64, 256, seed=7)
    return Problem.at(device, name, TanhMLP(256, 256, 0.95), x)
