"""What the author of an operator, an objective or a task runs to know that it keeps the contracts.

`check_operator`, `check_objective` and `check_task` ask many named questions, return a report and
raise if an answer is wrong. `operator_checks` and `objective_checks` give the questions one by one,
for pytest, which this package does not import.
"""

from lit_implicit.testing.check import Check
from lit_implicit.testing.objective import check_objective, objective_checks
from lit_implicit.testing.operator import check_operator, operator_checks
from lit_implicit.testing.report import CheckFailedError, Report, Result
from lit_implicit.testing.task import check_task

__all__ = [
    "Check",
    "CheckFailedError",
    "Report",
    "Result",
    "check_objective",
    "check_operator",
    "check_task",
    "objective_checks",
    "operator_checks",
]
