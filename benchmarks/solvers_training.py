"""Training steps: forward and backward to the same error of the gradient, timed in turns."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from solvers_calls import counted, finite
from solvers_forward import missed, timed
from solvers_memory import peak_bytes
from solvers_methods import OURS, Method, heading
from solvers_picking import Hurry, Ladder, reachable
from solvers_problems import Problem, draw
from solvers_timing import in_turns


class Gradient:
    """The gradient that a training step must find, and how far one is off.

    Args:
        problem: The problem.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.parameters = [p for p in problem.operator.parameters() if p.requires_grad]
        self.v = draw(*problem.z0.shape, seed=9).to(problem.device)
        self.exact = self._exact()

    def step(self, z: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of sum(v z) in all parameters, None for those that G has not."""
        loss = (z.reshape(self.v.shape) * self.v.to(z.dtype)).sum()
        return torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def error(self, found: Sequence[Tensor | None]) -> float:
        """Return |g - g*| / |g*| over all parameters together, infinite where not finite."""
        flat = self._flat(found)
        ratio = ((flat - self.exact).norm() / self.exact.norm()).item()
        return ratio if ratio < torch.inf else torch.inf

    def _flat(self, parts: Sequence[Tensor | None]) -> Tensor:
        return torch.cat([
            (torch.zeros_like(p) if part is None else part).double().flatten()
            for p, part in zip(self.parameters, parts, strict=True)
        ])  # fmt: skip

    def _exact(self) -> Tensor:
        """Solve u = J' u + v in float64 by plain iteration; G's own gradient along u is it."""
        operator, x = self.problem.in_float64()
        with torch.no_grad():
            c = operator.encode(x)
        z = self.problem.z_star.clone().requires_grad_()
        gz, norm = operator(z, c), self.problem.g.layout.norm
        u = self.v
        for _ in range(20000):
            last, u = u, torch.autograd.grad(gz, z, u, retain_graph=True)[0] + self.v
            if (norm(u - last) <= 1e-12 * norm(u)).all():
                break
        else:
            raise RuntimeError(f"The adjoint system of {self.problem.name} was not solved.")
        parameters = [p for p in operator.parameters() if p.requires_grad]
        return self._flat(torch.autograd.grad(gz, parameters, u, allow_unused=True))


def training_rows(
    problem: Problem, methods: Sequence[Method], goal: float, rounds: int
) -> list[dict[str, Any]]:
    """Return a row per method; methods that miss the goal have no time."""
    gradient = Gradient(problem)
    hurry = Hurry()
    ladders = [_ladder(problem, gradient, method, hurry) for method in methods]
    goal = reachable(goal, ladders)
    trials = [ladder.loosest(goal) for ladder in ladders]

    def run_of(method: Method, rtol: float) -> Any:
        solve = method.prepare(problem, rtol)
        return lambda: gradient.step(solve())

    runs = {
        method.label: run_of(method, trial.rtol)
        for method, trial in zip(methods, trials, strict=True)
        if trial is not None
    }
    taken = in_turns(runs, problem.device, rounds, always=(OURS, "torchdeq"))
    rows = []
    for method, ladder, trial in zip(methods, ladders, trials, strict=True):
        row = heading(problem, goal, method, trial and trial.rtol)
        if trial is None:
            rows.append({**row, **missed(ladder)})
            continue
        run = runs[method.label]
        with counted(problem.operator) as calls:
            error = gradient.error(run())
        counts = {"error": error, "n_calls": calls.n, "n_vjp": calls.n_vjp}
        peak = {"peak_bytes": peak_bytes(run, problem.device)}
        rows.append({**row, **counts, **peak, **timed(taken[method.label])})
    return rows


def _ladder(problem: Problem, gradient: Gradient, method: Method, hurry: Hurry) -> Ladder:
    def attempt(rtol: float) -> tuple[float, int]:
        with counted(problem.operator) as calls, finite(problem.operator):
            error = gradient.error(gradient.step(method.prepare(problem, rtol)()))
        return error, max(calls.n, calls.n_vjp)

    return Ladder(attempt, method.budget, hurry=hurry)
