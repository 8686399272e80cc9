"""All checks of a task: its entry, its data, its operators, its objective, and a short run."""

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from lit_implicit.operator import AbstractOperator
from lit_implicit.task import TaskSpec
from lit_implicit.testing import task_parts as parts
from lit_implicit.testing import task_runs as runs
from lit_implicit.testing.check import Check, describe, run_checks
from lit_implicit.testing.objective import objective_checks
from lit_implicit.testing.objective_case import ObjectiveCase
from lit_implicit.testing.operator import operator_checks
from lit_implicit.testing.operator_case import OperatorCase
from lit_implicit.testing.report import Report, Result
from lit_implicit.testing.task_case import TaskCase

_BEFORE = (
    Check(parts.entry_point, TaskCase),
    Check(parts.import_light, TaskCase, ("entry_point",)),
    Check(parts.classes, TaskCase, ("entry_point",)),
    Check(parts.data, TaskCase, ("entry_point", "classes")),
    Check(parts.shuffling, TaskCase, ("entry_point", "classes", "data")),
)
_RUNS = (
    Check(runs.fit, TaskCase),
    Check(runs.reload, TaskCase, ("fit",)),
    Check(runs.predict, TaskCase, ("fit",)),
)


def check_task(
    task: str | TaskSpec,
    *,
    data_args: Mapping[str, Any] | None = None,
    objective_args: Mapping[str, Any] | None = None,
    operator_args: Mapping[str, Mapping[str, Any]] | None = None,
    skip: Collection[str] = (),
) -> Report:
    """Check a whole task: what it registers, every part of it, and that it trains.

    Checked are the entry point and the classes (`entry_point`, `import_light`, `classes`), the
    data (`data`, `shuffling`), every operator on a batch of test data (`operators.NAME.CHECK`, as
    `check_operator`), the objective on it (`objective.CHECK`, as `check_objective`), the explicit
    networks (`baselines.NAME`), and two batches each of training, validation and test by the
    command line, the checkpoint and the predictions that they leave (`fit`, `reload`, `predict`).
    Runs write to a temporary folder and use the CPU. It takes as long as the data take to make, and
    seconds more.

    Args:
        task: Name of an installed task, or a spec.
        data_args: Arguments of the data module: plain values, as in a config. Ask for little data.
        objective_args: Arguments of the objective.
        operator_args: Arguments of operators and baselines, by their names in the spec.
        skip: Checks to leave out, as patterns: `fit`, `operators.naive.*`, `*.forward_mode`.

    Returns:
        What each check found, by name.

    Raises:
        CheckFailedError: If any check failed; its message lists them all.
        ValueError: If a pattern fits no check, or arguments are for an operator that is not there.

    Example:
        >>> def test_task():
        ...     check_task("mine", data_args={"n_train": 8, "n_val": 4, "n_test": 4})
    """
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        case = TaskCase(
            task, data_args or {}, objective_args or {}, operator_args or {}, Path(folder)
        )
        wanted = _Wanted(skip)
        results = list(_results(case, wanted))
        wanted.refuse_unknown(results)
    return Report(str(case), tuple(results)).raise_if_failed()


class _Wanted:
    """Which checks are left out; remembers which patterns fitted one."""

    def __init__(self, skip: Collection[str]) -> None:
        self.skip, self.used = skip, set[str]()

    def of(self, checks: Collection[Check], prefix: str = "") -> list[Check]:
        return [check for check in checks if self.wants(prefix + check.name)]

    def wants(self, name: str) -> bool:
        hits = {pattern for pattern in self.skip if fnmatch(name, pattern)}
        self.used |= hits
        return not hits

    def refuse_unknown(self, results: Collection[Result]) -> None:
        """Complain about a pattern without effect, unless a failure kept checks from running."""
        unknown = [pattern for pattern in self.skip if pattern not in self.used]
        if unknown and not any(result.status == "failed" for result in results):
            names = ", ".join(result.name for result in results)
            raise ValueError(f"`skip` fits no check: {unknown[0]!r}. Checks: {names}.")


def _results(case: TaskCase, wanted: _Wanted) -> Iterator[Result]:
    before = run_checks(wanted.of(_BEFORE), case)
    yield from before.results
    if set(before.names("failed")) & {"entry_point", "classes", "data"}:
        return  # there is nothing to check further
    for name in case.operator_args:
        if name not in {**case.spec.operators, **case.spec.baselines}:
            raise ValueError(
                f"`operator_args` has arguments for {name!r}; the task has "
                f"{', '.join([*case.spec.operators, *case.spec.baselines])}."
            )
    for name in case.spec.operators:
        yield from _operator_results(case, name, wanted)
    checks = wanted.of(objective_checks(), "objective.")
    report = run_checks(checks, ObjectiveCase(case.objective, case.batch, _answer(case)))
    yield from (replace(r, name=f"objective.{r.name}") for r in report.results)
    for name in case.spec.baselines:
        if wanted.wants(f"baselines.{name}"):
            yield _baseline_result(case, name)
    yield from run_checks(wanted.of(_RUNS), case).results


def _operator_results(case: TaskCase, name: str, wanted: _Wanted) -> Iterator[Result]:
    prefix = f"operators.{name}."
    if not (checks := wanted.of(operator_checks(), prefix)):
        return
    try:
        operator = case.make("operators", name)
    except Exception as err:
        message = (
            f"{describe(err)}. Give its arguments defaults, or `operator_args={{{name!r}: ...}}`."
        )
        yield Result(f"{prefix}constructor", "failed", message)
        return
    assert isinstance(operator, AbstractOperator)
    objective = case.objective
    x = objective.inputs(case.batch)

    def select_x(_: Any, keep: Any) -> Any:
        return objective.inputs(objective.select(case.batch, keep))

    report = run_checks(checks, OperatorCase(operator, x, select_x, objective))
    yield from (replace(r, name=f"{prefix}{r.name}") for r in report.results)


def _baseline_result(case: TaskCase, name: str) -> Result:
    def ask(case: TaskCase) -> None:
        parts.baseline(case, name)

    return replace(Check(ask, TaskCase).ask(case), name=f"baselines.{name}")


def _answer(case: TaskCase) -> Any:
    """Return what the default operator makes of one application of G; None if it cannot."""
    try:
        operator = case.make("operators", next(iter(case.spec.operators)))
        assert isinstance(operator, AbstractOperator)
        bound = OperatorCase(operator, case.objective.inputs(case.batch)).bind()
        with torch.no_grad():
            return operator.decode(bound.g(bound.z0), bound.c)
    except Exception:  # what is wrong, the checks of the operator tell
        return None
