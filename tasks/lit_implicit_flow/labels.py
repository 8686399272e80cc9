"""Flows in bulk: all that determines pairs of force and vorticity, and the pairs."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_implicit_flow.equation import force_of, force_of_curl
from lit_implicit_flow.family import VERSION, FlowFamily
from lit_implicit_flow.steady import FlowStatus, SteadySolver

CHUNK = 16
"""Candidates per file of the cache: what a kill can cost."""

N_STARTS = 2
"""Other starts of the solver for each force, to see whether the flow is unique."""

Labels = Literal["exact", "solver"]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class FlowSettings:
    """All that determines the pairs of one stream.

    Args:
        seed: Seed of the data set.
        stream: Number of the split.
        resolution: Points a side.
        nu: Viscosity.
        family: Law of the vorticity (`exact`) or of the force's curl (`solver`).
        labels: `exact` draws the vorticity and takes the force from the equation; `solver` draws
            the force and solves for the vorticity.
        rms: Root mean square of what is drawn: vorticity, or length of the force.
    """

    seed: int
    stream: int
    resolution: int
    nu: float
    family: FlowFamily
    labels: Labels
    rms: float

    def describe(self) -> dict[str, Any]:
        """Return all that the pairs depend on, as plain values."""
        return {"generator": VERSION, "chunk": CHUNK, "n_starts": N_STARTS, **asdict(self)}

    def key(self) -> str:
        """Return the name of the content: equal settings, equal key."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def n_bytes(self, n: int) -> int:
        """Return about how many bytes `n` pairs take in the cache."""
        return n * self.resolution**2 * 8

    def drawn(self, indices: range) -> Tensor:
        """Draw vorticities (`exact`), shape `(n, N, N)`, or forces (`solver`), `(n, 2, N, N)`."""
        field = self.family.draw(self.resolution, self.seed, self.stream, indices)
        if self.labels == "exact":
            return self.rms * field
        return force_of_curl(self.rms / self.family.mean_inverse_square**0.5 * field)

    def force(self, vorticity: Tensor, indices: NDArray[np.int64]) -> Tensor:
        """Return the forces of labelled flows, shape `(n, 2, N, N)`."""
        if self.labels == "exact":
            return force_of(vorticity, self.nu)
        first, last = int(indices.min()), int(indices.max())
        return self.drawn(range(first, last + 1))[torch.from_numpy(indices - first)]


def make_chunk(settings: FlowSettings, number: int) -> Arrays:
    """Make the candidates of chunk `number`, and keep the flows that are sure.

    Returns:
        `index` and `vorticity` (shape `(n, N, N)`, float64) of the flows kept; of each candidate
        its `status`, a `FlowStatus`, and in `n_agree` how many of `N_STARTS` other starts of the
        solver led to the same flow (-1 where nothing was solved).
    """
    indices = range(number * CHUNK, (number + 1) * CHUNK)
    drawn = settings.drawn(indices)
    status = np.full(CHUNK, FlowStatus.SOLVED, np.int64)
    n_agree = np.full(CHUNK, -1, np.int64)
    vorticity = drawn
    if settings.labels == "solver":
        noise = torch.stack([_noise(settings, index) for index in indices], dim=1)
        nu = torch.full((CHUNK,), settings.nu, dtype=torch.float64)
        flows = SteadySolver().solve(drawn, nu, noise)
        vorticity, status = flows.vorticity, flows.status.numpy()
        n_agree = flows.n_agree.numpy()
    kept = status == FlowStatus.SOLVED
    index = np.arange(indices.start, indices.stop)[kept]
    found = vorticity.numpy()[kept]
    return {"index": index, "vorticity": found, "status": status, "n_agree": n_agree}


def _noise(settings: FlowSettings, index: int) -> Tensor:
    draws = np.random.default_rng((settings.seed, settings.stream, index, 1))
    shape = (N_STARTS, settings.resolution, settings.resolution)
    return torch.from_numpy(draws.standard_normal(shape))
