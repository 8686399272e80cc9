"""The answer of an operator that knows the dual too, and the primal solution of any answer."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LPSolution:
    """A primal-dual answer to a batch of linear programs, in the programs' own units.

    The Lagrangian is `c'y + dual'(A y - b)`: `dual` is at least 0 for `<=`, free for `=`, and the
    reduced costs are `c + A'dual`. (The dual of HiGHS has the other sign.)

    Args:
        primal: The solutions y, shape `(n_variables,)` over all programs.
        dual: A multiplier of each constraint, shape `(n_constraints,)` over all programs.
        primal_step: Difference of the last two y. It tends to 0 where there is an optimum, and to
            a direction without end where the program is unbounded.
        dual_step: Difference of the last two duals. It tends to 0 where there is an optimum, and
            to a certificate of infeasibility where there is no feasible point.
    """

    primal: Tensor
    dual: Tensor
    primal_step: Tensor
    dual_step: Tensor


def primal(answer: Any) -> Tensor:
    """Return the solutions y of an answer: an `LPSolution`, or a tensor, which is y itself.

    Raises:
        TypeError: If it is something else.
    """
    y = answer.primal if isinstance(answer, LPSolution) else answer
    if not isinstance(y, Tensor):
        raise TypeError(
            "The answer to linear programs must be a tensor of all solutions or an `LPSolution`, "
            f"got {type(answer).__name__}. Let the operator's `decode` return one of them."
        )
    return y
