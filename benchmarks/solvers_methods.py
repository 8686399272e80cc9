"""The methods, each called as its library means it to be, with relative stops everywhere.

- lit-implicit: `solver.solve(g, z0)`; `Picard()`, `Anderson()`, `Auto()` and `Broyden()`, at their
  defaults.
- plain loop: what one writes oneself, z = G(z) until the largest relative residual of the batch,
  looked at each iteration, is small enough. `oracle` is no method: the same loop without a test,
  stopped after the least number of iterations that reaches the goal, which nobody knows beforehand.
- torchdeq: the solver functions behind `get_deq`, `stop_mode="rel"`. Anderson at its defaults (six
  states, ridge 1e-4) and with a ridge that small residuals need (1e-8). Broyden remembers all steps
  by default, and has memory for its whole budget: the budget is 100 here; and with 20 steps.
- deepinv: `BaseOptim` around an iterator that applies G, `early_stop=True` with its criterion (the
  batch mean of the relative step). Anderson with the settings of its own backward solves (five
  states, no damping, ridge 1e-4; the forward's defaults, ridge 0.1 and damping 0.9, are worse than
  no acceleration) and with ridge 1e-8. It has no Broyden.
- silva-networks: `fixed_point`, relative stop, Anderson by sample (its default couples the batch),
  with the default ridge 1e-4 and with 1e-8. Picard and Broyden, with the default history of 5 and
  with 20, see the batch as one vector, and so does their residual.

All start from the same z0 and have the same budget of iterations but where said.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import lit_implicit
from lit_implicit import AbstractSolver, Anderson, Auto, Broyden, Picard
from solvers_problems import Problem

OURS, PLAIN, MAX_ITER = "lit-implicit", "plain loop", 1500
SOLVERS: dict[str, AbstractSolver] = {"Picard": Picard(), "Anderson": Anderson(), "Auto": Auto()}
"""Ours, for training steps."""

Run = Callable[[], Tensor]
Prepare = Callable[[Problem, float], Run]


@dataclass(frozen=True)
class Method:
    """A way to solve.

    Args:
        library: Whose it is.
        name: What it is called.
        prepare: Given a problem and a tolerance, returns the solve itself, which is timed.
        budget: Iterations after which it gives up.
    """

    library: str
    name: str
    prepare: Prepare
    budget: int = MAX_ITER

    @property
    def label(self) -> str:
        """Library and name."""
        return f"{self.library}: {self.name}"


def our_solvers() -> dict[str, AbstractSolver]:
    """Return our solvers at their defaults."""
    return {**SOLVERS, "Broyden": Broyden()}


def with_budget(solver: Any, rtol: float, max_iter: int = MAX_ITER) -> Any:
    """Return a solver of ours with another tolerance and budget."""
    return replace(solver, rtol=rtol, max_iter=max_iter)


def our_methods() -> list[Method]:
    """Return a method for each of our solvers."""

    def method(name: str, solver: AbstractSolver) -> Method:
        def prepare(problem: Problem, rtol: float) -> Run:
            chosen = with_budget(solver, rtol)
            return lambda: chosen.solve(problem.g, problem.z0).z

        return Method(OURS, name, prepare)

    return [method(name, solver) for name, solver in our_solvers().items()]


def plain_picard(problem: Problem, rtol: float) -> Run:
    """Return the loop that looks at the residual of the batch at each iteration."""

    @torch.no_grad()
    def run() -> Tensor:
        z = problem.row
        for _ in range(MAX_ITER):
            gz = problem.f(z)
            residual = (gz - z).flatten(1).norm(dim=1)
            z = gz
            if (residual / gz.flatten(1).norm(dim=1)).max() <= rtol:
                break
        return z

    return run


def oracle(problem: Problem, n_iter: int) -> Run:
    """Return the loop of a given number of iterations, without any test."""

    @torch.no_grad()
    def run() -> Tensor:
        z = problem.row
        for _ in range(n_iter):
            z = problem.f(z)
        return z

    return run


def installed(parts: Iterable[Callable[[], list[Method]]]) -> list[Method]:
    """Return the methods of those libraries that are installed: each part imports one."""
    found: list[Method] = []
    for part in parts:
        with suppress(ImportError):  # the versions in the results say so
            found += part()
    return found


def heading(problem: Problem, goal: float, method: Method, rtol: float | None) -> dict[str, Any]:
    """Return what a row says first: who solved what, how well, at which tolerance."""
    return {
        "problem": problem.name, "goal": goal, "library": method.library,
        "method": method.name, "rtol": rtol,
    }  # fmt: skip


def methods() -> tuple[list[Method], dict[str, str]]:
    """Return all methods, and the version of each library or why it is missing."""
    found = [*our_methods(), Method(PLAIN, "Picard", plain_picard)]
    state: dict[str, str] = {OURS: lit_implicit.__version__}
    for module, library in (
        ("solvers_torchdeq", "torchdeq"),
        ("solvers_deepinv", "deepinv"),
        ("solvers_silva", "silva-networks"),
    ):
        try:
            found += import_module(module).methods()
            state[library] = version(library)
        except ImportError as err:
            state[library] = f"not installed ({err})"
    return found, state
