"""The progress bar of programs being solved."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class LateBar:
    """A progress bar that appears with the first program that is made, not for those read.

    Args:
        title: What is being done; None shows no bar.
        total: How many programs there will be.
    """

    def __init__(self, title: str | None, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._bar: Progress | None = None

    def __enter__(self) -> "LateBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, n: int, *, show: bool) -> None:
        """Count `n` more programs; `show` the bar from now on."""
        self._done = min(self._done + n, self._total)
        if self._title is not None and (show or self._bar is not None):
            self._bar = self._bar or self._start(self._title)
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _start(self, title: str) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, console=Console(stderr=True))
        bar.add_task(title, total=self._total)
        bar.start()
        return bar
