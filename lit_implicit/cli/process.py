"""What a run changes of its process, and puts back: warnings, Ctrl-C, errors of threads."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lit_implicit.errors import LitImplicitWarning

_LOGGER = logging.getLogger("lightning.pytorch.utilities.rank_zero")
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # Windows has not all of them
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


@contextmanager
def changed_process(on_thread_error: Callable[[BaseException], bool]) -> Iterator[None]:
    """Make the process fit for a run; afterwards it is as before.

    Args:
        on_thread_error: Called when a thread dies, as TensorBoard's writer does of a full disk;
            says whether that is the user's to repair. Other errors are shown as ever.
    """
    usual = warnings.formatwarning

    def _one_line(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> str:
        ours = issubclass(category, LitImplicitWarning)
        return f"warning: {message}\n" if ours else usual(message, category, *rest, **more)

    is_main = threading.current_thread() is threading.main_thread()
    on_error = threading.excepthook
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or not on_thread_error(args.exc_value):
            on_error(args)

    threading.excepthook = hook
    try:
        with warnings.catch_warnings():
            _silence()
            warnings.formatwarning = _one_line
            yield
    finally:
        warnings.formatwarning = usual
        _LOGGER.removeFilter(_no_tips)
        threading.excepthook = on_error
        if is_main:  # Lightning, in the belief that the process ends, ignores Ctrl-C from then on
            for number, handler in handlers.items():
                if handler is not None:  # else it is not Python's, and nobody has changed it
                    signal.signal(number, handler)


def _silence() -> None:
    """Keep out what says nothing about the run: advertisements, and warnings about libraries."""
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    # The weights of one run, used in another: this is how a run directory is meant.
    warnings.filterwarnings("ignore", "The dirpath has changed from")
    warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`, callbacks used")
    # Evaluation counts each sample once (`exact_evaluation`).
    warnings.filterwarnings("ignore", "Using `DistributedSampler` with the dataloaders")
    # Statistics that are reduced before they are logged.
    warnings.filterwarnings("ignore", "It is recommended to use `self.log.*sync_dist=True")
    # A size in bytes, which our summary does not show.
    warnings.filterwarnings("ignore", "Precision .* is not supported by the model summary")
    # An optimizer on the command line takes the place of the module's: this is what it is for.
    warnings.filterwarnings("ignore", ".*configure_optimizers` will be overridden by")
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    _LOGGER.addFilter(_no_tips)


def _no_tips(record: logging.LogRecord) -> bool:
    return "Tip: " not in record.getMessage()
