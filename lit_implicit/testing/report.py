"""What a run of checks found, by name, and the error that lists what failed."""

import textwrap
from dataclasses import dataclass
from typing import Literal

from lit_implicit.errors import LitImplicitError

Status = Literal["passed", "failed", "skipped"]
_WIDTH = 100


class CheckFailedError(LitImplicitError, AssertionError):
    """An operator, an objective or a task breaks a contract; the message lists every breach.

    Args:
        report: All results, also those that passed.
    """

    def __init__(self, report: "Report") -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class Result:
    """What one check found.

    Args:
        name: Name of the check; within `check_task`, with the part of the task in front, as
            `operators.mlp.select`.
        status: `passed`, `failed` or `skipped`.
        message: What is wrong and what to do, or why it was skipped; of a check that passed, what
            is worth knowing, often nothing.
    """

    name: str
    status: Status
    message: str = ""


@dataclass(frozen=True)
class Report:
    """The results of all checks, in the order in which they ran; prints as a table.

    Args:
        subject: What was checked.
        results: What each check found.
    """

    subject: str
    results: tuple[Result, ...]

    def __getitem__(self, name: str) -> Result:
        """Return the result of a check by its name."""
        return {result.name: result for result in self.results}[name]

    def names(self, status: Status) -> list[str]:
        """Return the names of the checks that ended so."""
        return [result.name for result in self.results if result.status == status]

    def raise_if_failed(self) -> "Report":
        """Return the report itself if nothing failed.

        Raises:
            CheckFailedError: If a check failed.
        """
        if self.names("failed"):
            raise CheckFailedError(self)
        return self

    def __str__(self) -> str:
        kinds: tuple[Status, ...] = ("passed", "failed", "skipped")
        counts = ", ".join(f"{len(self.names(kind))} {kind}" for kind in kinds)
        width = max((len(result.name) for result in self.results), default=0)
        lines = [f"{self.subject}: {counts}"]
        for result in self.results:
            mark = "FAILED" if result.status == "failed" else result.status
            head = f"  {mark:<7}  {result.name:<{width}}  "
            text = textwrap.wrap(
                result.message,
                max(_WIDTH, len(head) + _WIDTH // 2),
                initial_indent=head,
                subsequent_indent=" " * len(head),
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines.extend(text or [head.rstrip()])
        return "\n".join(lines)
