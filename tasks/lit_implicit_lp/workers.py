"""Work on all cores that stops when it is told to, by Ctrl-C or by SIGTERM."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[], None]


class StoppedError(Exception):
    """The work is given up: raised inside of the threads, never seen outside of them."""


def work_on_all_cores(
    make: Callable[[int, Check], T], numbers: Iterable[int]
) -> Generator[T, None, None]:
    """Yield what `make` returns for each number, in the order in which it is done.

    Threads, not processes: HiGHS releases Python's lock while it solves, and a process started in
    the user's script would run that script again. An error in one of them, or in the loop over what
    is yielded, ends the others too: at once, if they call the check that they are given.

    Args:
        make: Called with a number and a check that raises once the work is given up.
        numbers: What is to be made.
    """
    is_given_up = threading.Event()

    def check() -> None:
        if is_given_up.is_set():
            raise StoppedError

    pool = ThreadPoolExecutor(n_cores())
    try:
        for done in as_completed([pool.submit(make, number, check) for number in numbers]):
            yield done.result()
    finally:
        is_given_up.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the block by `SystemExit(143)`, so that whatever is open is tidied up.

    Without it the process ends in mid-air. (Lightning answers SIGTERM too, but only once the data
    are there.) A handler of the user's own stays in its place.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)  # the shells' number for it

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def n_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
