"""What a solver must not cost: batches with slow samples, long solves in memory, work outside G."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit import (
    AbstractOperator,
    AbstractSolver,
    Anderson,
    Broyden,
    Equilibrium,
    FixedPointMap,
    Implicit,
    Picard,
)
from solvers_calls import counted
from solvers_counting import WorkOutside
from solvers_curves import Curves
from solvers_memory import peak_bytes
from solvers_methods import our_solvers, with_budget
from solvers_problems import Problem, TanhMLP, affine_problem, draw
from solvers_timing import in_turns, quartiles, ratio

SKEWED: dict[str, tuple[AbstractSolver, float, float]] = {
    "Picard": (Picard(), 0.5, 0.957),
    "Anderson": (Anderson(), 0.05, 0.96),
    "Broyden": (Broyden(), 0.05, 0.94),
}
"""For each solver the contraction of 90 % and of 10 % of the samples: the latter take ten times the
iterations, or about."""


class Graded(AbstractOperator):
    """G(z, (x, r)) = r A z + x with a rate r of each sample's own; A has norm 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        basis = torch.linalg.qr(draw(dim, dim)).Q
        values = torch.linspace(-0.3, 1.0, dim, dtype=torch.float64)
        self.a = nn.Parameter((basis @ torch.diag(values) @ basis.T).float())

    def init_state(self, c: Any, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c[0])

    def forward(self, z: Tensor, c: Any) -> Tensor:
        return torch.addcmul(c[0], c[1], z @ self.a.T)


class Whole(FixedPointMap):
    """The map of a batch that cannot be narrowed."""

    can_select = False


def skewed_batch(
    device: torch.device, rounds: int, n: int = 200, dim: int = 512
) -> list[dict[str, Any]]:
    """Time solves of a batch with a tenth of slow samples, with compaction over without."""
    operator, x = Graded(dim).to(device), draw(n, dim, seed=7).float().to(device)
    found = []
    for name, (solver, fast, slow) in SKEWED.items():
        rate = torch.full((n, 1), fast, device=device)
        rate[::10] = slow
        chosen = with_budget(solver, 1e-4)
        with torch.no_grad():
            g, z0 = Equilibrium(operator).bind((x, rate))
        whole = Whole(g.operator, g.c, g.layout)
        runs = {
            "with": lambda g=g, s=chosen, z0=z0: s.solve(g, z0),
            "without": lambda g=whole, s=chosen, z0=z0: s.solve(g, z0),
        }
        n_iter = runs["with"]().n_iter.double()
        taken = in_turns(runs, device, rounds)
        found.append({
            "solver": name,
            "iterations": [n_iter[1].item(), n_iter[0].item()],
            "seconds": {key: quartiles(times) for key, times in taken.items()},
            "ratio": ratio(taken["with"], taken["without"]),
        })  # fmt: skip
    return found


def memory_of_training(problem: Problem) -> list[dict[str, Any]]:
    """Return the peaks of training steps of 10 and of 200 iterations each way, in bytes."""
    parameters = list(problem.operator.parameters())
    found = []
    for name, solver in our_solvers().items():
        peaks, calls = [], []
        for n_iter in (10, 200):
            fixed = with_budget(solver, 0.0, n_iter)

            def step(fixed: Any = fixed) -> None:
                z = Implicit(fixed).solve(problem.g, problem.z0, fixed).z
                torch.autograd.grad(z.sum(), parameters)

            with counted(problem.operator) as seen:
                step()
            calls.append(seen.n)
            peaks.append(peak_bytes(step, problem.device))
        found.append({
            "solver": name, "bytes": peaks, "n_calls": calls, "ratio": peaks[1] / peaks[0]
        })  # fmt: skip
    return found


def work_outside(device: torch.device, dim: int = 4096) -> list[dict[str, Any]]:
    """Return state passes, operations and host looks of one more iteration, state 16 x `dim`.

    The difference of two solves without a tolerance, of 12 and of 28 iterations: what a solve does
    once is left out.
    """
    problem = affine_problem("", 0.999, 1.0, dim, device)
    found = []
    for name, solver in our_solvers().items():
        sums = []
        for n_iter in (12, 28):
            fixed = with_budget(solver, 0.0, n_iter)
            with counted(problem.operator) as calls, WorkOutside(calls, problem.z0.numel()) as work:
                fixed.solve(problem.g, problem.z0)
            sums.append(torch.tensor([calls.n, work.n_passes, work.n_ops, work.n_looks]))
        n, passes, ops, looks = (sums[1] - sums[0]).tolist()
        found.append({
            "solver": name, "passes": passes / n, "ops": ops / n, "looks": looks / n
        })  # fmt: skip
    return found


def alone_or_together(problem: Problem) -> list[dict[str, Any]]:
    """Return how far each sample's answer is from that of a solve alone, relatively, in float64."""
    operator, x = problem.in_float64()
    found = []
    for name, solver in our_solvers().items():
        layer = Equilibrium(operator, replace(solver, rtol=1e-6, max_iter=1000))  # type: ignore[type-var]
        with torch.no_grad():
            together = layer(x)[1].z
            alone = torch.cat([layer(x[i : i + 1])[1].z for i in range(len(x))])
        apart = (together - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1)
        found.append({"solver": name, "apart": apart.max().item()})
    return found


def measure_cases(device: torch.device, rounds: int, quick: bool) -> dict[str, Any]:
    """Return all of the above and the curves; a quick run takes small sizes, which say little."""
    n = 40 if quick else 200
    problem = Problem.at(device, "tanh", TanhMLP(256, 256, 0.95), 0.3 * draw(n // 4, 256, seed=7))
    return {
        "work_outside": work_outside(device),
        "skewed_batch": skewed_batch(device, rounds, n, 64 if quick else 512),
        "memory": memory_of_training(problem),
        "alone": alone_or_together(problem),
        "curves": Curves(device, *(4, 10) if quick else (16, 40)).rows(rounds),
    }
