"""All checks of an operator, together or one by one."""

from collections.abc import Callable, Collection
from typing import Any

from lit_implicit.layout import Mask
from lit_implicit.objective import AbstractObjective
from lit_implicit.operator import AbstractOperator
from lit_implicit.testing import operator_derivatives as derivatives
from lit_implicit.testing import operator_samples as samples
from lit_implicit.testing import operator_use as use
from lit_implicit.testing import operator_values as values
from lit_implicit.testing.check import Check, choose, run_checks
from lit_implicit.testing.operator_case import OperatorCase
from lit_implicit.testing.report import Report

_FIRST = ("deep_copy", "shape_and_dtype")
_FINITE = (*_FIRST, "finite")
_REPEATABLE = (*_FINITE, "determinism")
_NEEDS: dict[Callable[[OperatorCase], str | None], tuple[str, ...]] = {
    values.deep_copy: (),
    values.shape_and_dtype: ("deep_copy",),
    values.finite: _FIRST,
    values.determinism: _FINITE,
    values.in_place: _FINITE,
    samples.select: _REPEATABLE,
    samples.batch_invariance: _REPEATABLE,
    samples.nan_isolation: _REPEATABLE,
    use.double_precision: _FINITE,
    derivatives.derivative: _FINITE,
    derivatives.gradcheck: (*_REPEATABLE, "derivative"),
    derivatives.forward_mode: _REPEATABLE,
    use.autocast: _FINITE,
    use.state_dict: _REPEATABLE,
    use.pickling: ("deep_copy",),
    use.solve: _FINITE,
}
"""The checks in their order, with those whose failure leaves them without a meaning."""

_CHECKS = tuple(Check(function, OperatorCase, needs) for function, needs in _NEEDS.items())


def operator_checks(
    *, checks: Collection[str] | None = None, skip: Collection[str] = ()
) -> list[Check]:
    """Return the checks of an operator, each to be called with an operator and an input.

    Args:
        checks: Names of the checks to return; None means all.
        skip: Names of checks to leave out.

    Raises:
        ValueError: If a name is not known.

    Example:
        >>> @pytest.mark.parametrize("check", operator_checks())
        ... def test_operator(check):
        ...     check(MyOperator(), torch.randn(4, 8))
    """
    return choose(_CHECKS, checks, skip)


def check_operator(
    operator: AbstractOperator,
    x: Any,
    *,
    checks: Collection[str] | None = None,
    skip: Collection[str] = (),
    select_x: Callable[[Any, Mask], Any] | None = None,
    objective: AbstractObjective | None = None,
) -> Report:
    """Check that an operator keeps all that solvers, adjoints and probes rely on.

    Every check runs on a copy of the operator, on its device, and leaves the random numbers of the
    caller alone. An operator of a million parameters takes seconds.

    Args:
        operator: The operator G.
        x: An input of at least two samples, better three or four, in the form `encode` takes.
        checks: Names of the checks to run; None means all (see `operator_checks`).
        skip: Names of checks to leave out.
        select_x: Keeps some samples of an input, `(x, keep) -> x`. None means that of tensors with
            the sample as first axis, in any nesting.
        objective: Says by `leaves` in which tensors of x derivatives are taken. None means all that
            are floating point.

    Returns:
        What each check found, by name.

    Raises:
        CheckFailedError: If any check failed; its message lists them all.
        TypeError: If `operator` is none.
        ValueError: If the name of a check is not known.
    """
    chosen = choose(_CHECKS, checks, skip)
    return run_checks(chosen, OperatorCase(operator, x, select_x, objective)).raise_if_failed()
