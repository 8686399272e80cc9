"""Flows whose vorticity, velocity and force are known in closed form, and small batches."""

import math

import torch

from lit_implicit_flow.batch import FlowBatch, FlowInput
from lit_implicit_flow.equation import force_of
from lit_implicit_flow.family import FlowFamily


def grid(n):
    """The points of the square: x along the first axis, y along the second."""
    points = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return torch.meshgrid(points, points, indexing="ij")


def fields(n=32, number=3, seed=0, **family):
    """Random band-limited fields."""
    return FlowFamily(**family).draw(n, seed, 0, range(number))


def off(found, wanted):
    """Largest 2-norm of a difference, relative, over the first axis."""
    norms = ((found - wanted).flatten(1).norm(dim=1), wanted.flatten(1).norm(dim=1))
    return float((norms[0] / norms[1]).detach().max())


def batch(n=3, side=24, nu=0.05, dtype=torch.float32, scales=(0.2, 0.5)):
    """Exact pairs, in units that are not 1."""
    w = 0.33 * fields(side, n)
    force, target = force_of(w, nu) / scales[0], w[:, None] / scales[1]
    numbers = (torch.full((n,), number, dtype=dtype) for number in (nu, *scales))
    x = FlowInput(force.to(dtype), *numbers)
    return FlowBatch(x, target.to(dtype), torch.arange(n), repeats=True)
