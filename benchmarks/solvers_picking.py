"""The tolerance at which a method reaches a goal: the loosest one of a fixed grid."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TOLERANCES = tuple(10 ** (-k / 2) for k in range(2, 17))
"""From 0.1 to 1e-8, by half decades."""


_LEAST_PATIENCE = 0.1
"""Seconds; nobody is hurried below `factor` times this."""


@dataclass(frozen=True)
class Trial:
    """A solve at a tolerance.

    Args:
        rtol: The tolerance.
        error: The true error that it ended with.
        n_calls: Calls of G.
        failure: What it raised, or why there is no next one, in words; else empty.
    """

    rtol: float
    error: float
    n_calls: int
    failure: str = ""


class Hurry:
    """The least time in which any method has reached each goal, and when to give up on others.

    Args:
        factor: A solve that took so many times that, and reaches nothing, is the method's last one.
    """

    def __init__(self, factor: float = 8.0) -> None:
        self.factor = factor
        self._least: dict[float, float] = {}

    def reached(self, goal: float, taken: float) -> None:
        """Note that a goal was reached in so many seconds."""
        self._least[goal] = min(taken, self._least.get(goal, math.inf))

    def is_over(self, goal: float, taken: float) -> bool:
        """Tell whether a solve that missed the goal took so long that the next cannot matter."""
        return taken > self.factor * max(self._least.get(goal, math.inf), _LEAST_PATIENCE)


class Ladder:
    """The trials of a method, from the loosest tolerance on, made when a goal asks for them.

    It ends where a tighter tolerance cannot help: after the grid, after a failure, and where the
    budget of iterations is what ended the last solve; and where that took far longer than another
    method takes to the goal.

    Args:
        attempt: Solves at a tolerance; returns the true error and the calls of G.
        budget: Calls of G from which on the budget has ended the solve.
        tolerances: The grid, loosest first.
        hurry: What the ladders of a problem share.
    """

    def __init__(
        self,
        attempt: Callable[[float], tuple[float, int]],
        budget: int,
        tolerances: Sequence[float] = TOLERANCES,
        hurry: Hurry | None = None,
    ) -> None:
        self.hurry = hurry or Hurry()
        self.attempt, self.budget, self.tolerances = attempt, budget, tolerances
        self.trials: list[Trial] = []

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to try."""
        if not self.trials:
            return False
        last = self.trials[-1]
        n = len(self.trials)
        return n == len(self.tolerances) or last.n_calls >= self.budget or bool(last.failure)

    def loosest(self, goal: float) -> Trial | None:
        """Return the trial at the loosest tolerance that reaches the goal; None if none does."""
        for trial in self.trials:
            if trial.error <= goal:
                return trial
        while not self.is_over:
            rtol = self.tolerances[len(self.trials)]
            since = time.perf_counter()
            try:
                error, n_calls = self.attempt(rtol)
                taken, words = time.perf_counter() - since, ""
                if error <= goal:
                    self.hurry.reached(goal, taken)
                elif self.hurry.is_over(goal, taken):
                    words = f"given up: {self.hurry.factor:.0f} times as long as the fastest"
                self.trials.append(Trial(rtol, error, n_calls, words))
            except (ArithmeticError, RuntimeError, ValueError) as err:
                words = f"{type(err).__name__}: {str(err).splitlines()[0][:80]}"
                self.trials.append(Trial(rtol, math.inf, 0, words))
            if self.trials[-1].error <= goal:
                return self.trials[-1]
        return None

    @property
    def best(self) -> Trial:
        """The trial with the least error so far."""
        return min(self.trials, key=lambda trial: trial.error)


def reachable(goal: float, ladders: Sequence[Ladder]) -> float:
    """Return the goal, loosened by half decades until one of the methods reaches it.

    Raises:
        RuntimeError: If none comes below an error of 1.
    """
    while not any(ladder.loosest(goal) for ladder in ladders):
        goal *= 10**0.5
        if goal > 1:
            raise RuntimeError("No method solves the problem: all errors are above 1.")
    return goal
