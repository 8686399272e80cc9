"""All checks of an objective, together or one by one."""

from collections.abc import Collection
from typing import Any

from lit_implicit.objective import AbstractObjective
from lit_implicit.testing import objective_output as output
from lit_implicit.testing import objective_perturb as perturbing
from lit_implicit.testing import objective_values as values
from lit_implicit.testing.check import Check, choose, run_checks
from lit_implicit.testing.objective_case import ObjectiveCase
from lit_implicit.testing.report import Report

_CHECKS = (
    Check(values.per_sample, ObjectiveCase),
    *(
        Check(function, ObjectiveCase, ("per_sample",))
        for function in (
            values.loss_gradient,
            values.error_of_target,
            values.distance,
            values.select,
            values.inputs_hide_target,
            perturbing.perturb,
            perturbing.leaves,
            output.figures,
        )
    ),
    Check(values.metrics, ObjectiveCase, ("per_sample", "select")),
    Check(output.write, ObjectiveCase, ("per_sample", "select")),
)


def objective_checks(
    *, checks: Collection[str] | None = None, skip: Collection[str] = ()
) -> list[Check]:
    """Return the checks of an objective, each to be called with an objective and a batch.

    Args:
        checks: Names of the checks to return; None means all.
        skip: Names of checks to leave out.

    Raises:
        ValueError: If a name is not known.

    Example:
        >>> @pytest.mark.parametrize("check", objective_checks())
        ... def test_objective(check, batch):
        ...     check(MyObjective(), batch)
    """
    return choose(_CHECKS, checks, skip)


def check_objective(
    objective: AbstractObjective,
    batch: Any,
    y: Any = None,
    *,
    checks: Collection[str] | None = None,
    skip: Collection[str] = (),
) -> Report:
    """Check that an objective keeps all that modules, probes and callbacks rely on.

    Args:
        objective: The objective.
        batch: A batch of at least two samples, as the data module gives it. Use one of validation
            or test data, where perturbations need labels of their own.
        y: An answer to it, as the operator's `decode` returns it. None means that the target has
            the form of an answer.
        checks: Names of the checks to run; None means all (see `objective_checks`).
        skip: Names of checks to leave out.

    Returns:
        What each check found, by name.

    Raises:
        CheckFailedError: If any check failed; its message lists them all.
        TypeError: If `objective` is none.
        ValueError: If the name of a check is not known.
    """
    chosen = choose(_CHECKS, checks, skip)
    return run_checks(chosen, ObjectiveCase(objective, batch, y)).raise_if_failed()
