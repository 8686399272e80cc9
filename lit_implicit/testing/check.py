"""A check: a named question to an operator, an objective or a task, and how a list of them runs."""

import difflib
import traceback
import unittest
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lit_implicit.errors import LitImplicitError
from lit_implicit.testing.report import CheckFailedError, Report, Result

_PACKAGE = Path(__file__).parents[1]


class BrokenError(Exception):
    """Raised by a check: the sentence that says what is wrong and what to do."""


class NotApplicableError(Exception):
    """Raised by a check that does not apply: the reason."""


@dataclass(frozen=True)
class Check:
    """One check, which is also a test: call it with what it checks.

    A call raises `CheckFailedError` if the contract is broken, and `unittest.SkipTest`, which
    pytest understands, if the check does not apply.

    Args:
        function: Asks the question. It raises `BrokenError` or `NotApplicableError`, and may return
            a note.
        case: Makes what the function is given out of the arguments of a call.
        needs: Names of checks without which the answer would mean nothing.
    """

    function: Callable[[Any], str | None]
    case: Callable[..., Any]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the check."""
        return self.function.__name__

    @property
    def __name__(self) -> str:
        """The same, where pytest looks for it to name a test."""
        return self.name

    @property
    def summary(self) -> str:
        """The contract that it holds to, in a line."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def __call__(self, *args: Any, **options: Any) -> None:
        case = self.case(*args, **options)
        result = self.ask(case)
        if result.status == "failed":
            raise CheckFailedError(Report(str(case), (result,)))
        if result.status == "skipped":
            raise unittest.SkipTest(result.message)

    def ask(self, case: Any) -> Result:
        """Run the check; whatever it raises becomes its result."""
        try:
            # What is drawn here must not change what the caller draws next.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                note = self.function(case)
        except NotApplicableError as err:
            return Result(self.name, "skipped", str(err))
        except (BrokenError, LitImplicitError) as err:
            return Result(self.name, "failed", str(err))
        except Exception as err:  # whatever a plug-in raises, its author must learn where
            return Result(self.name, "failed", describe(err))
        return Result(self.name, "passed", note or "")


def describe(err: BaseException) -> str:
    """Return an error in a line, with the innermost place outside of lit_implicit and torch."""
    text = " ".join(str(err).split())
    for frame in reversed(traceback.extract_tb(err.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and _PACKAGE not in path.parents:
            return f"{type(err).__name__}: {text} (in `{frame.name}`, {path.name}:{frame.lineno})"
    return f"{type(err).__name__}: {text}"


def choose(
    known: Sequence[Check], checks: Collection[str] | None, skip: Collection[str]
) -> list[Check]:
    """Return the checks that are wanted, in their own order.

    Raises:
        ValueError: If a name is not known.
    """
    names = [check.name for check in known]
    for argument, given in (("checks", checks or ()), ("skip", skip)):
        for name in given:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                raise ValueError(
                    f"`{argument}` names no check: {name!r}. Known: {', '.join(names)}."
                    + (f" Did you mean {close[0]!r}?" if close else "")
                )
    return [
        check
        for check in known
        if check.name not in skip and (checks is None or check.name in checks)
    ]


def run_checks(chosen: Sequence[Check], case: Any) -> Report:
    """Ask all questions, but none whose answer a failure before it has made meaningless."""
    results: dict[str, Result] = {}
    for check in chosen:
        failed = [
            name for name in check.needs if name in results and results[name].status == "failed"
        ]
        if failed:
            reason = f"Means nothing until `{failed[0]}` passes."
            results[check.name] = Result(check.name, "skipped", reason)
        else:
            results[check.name] = check.ask(case)
    return Report(str(case), tuple(results.values()))
