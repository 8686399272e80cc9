"""What a run changes of its process, and puts back: warnings, Ctrl-C, errors of threads."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lit_implicit.cli.mistakes import as_mistake
from lit_implicit.errors import LitImplicitWarning

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # Windows has not all of them
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


@contextmanager
def changed_process(on_thread_error: Callable[[BaseException], None]) -> Iterator[None]:
    """Make the process fit for a run; afterwards it is as before.

    Args:
        on_thread_error: Called when a thread dies of something that is the user's to repair, such
            as TensorBoard's writer of a full disk; other errors are shown as ever.
    """
    usual = warnings.formatwarning

    def _one_line(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> str:
        ours = issubclass(category, LitImplicitWarning)
        return f"warning: {message}\n" if ours else usual(message, category, *rest, **more)

    is_main = threading.current_thread() is threading.main_thread()
    on_error = threading.excepthook
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and as_mistake(args.exc_value, None) is not None:
            on_thread_error(args.exc_value)
        else:
            on_error(args)

    threading.excepthook = hook
    try:
        with warnings.catch_warnings():
            _silence()
            warnings.formatwarning = _one_line
            yield
    finally:
        warnings.formatwarning = usual
        threading.excepthook = on_error
        if is_main:  # Lightning, in the belief that the process ends, ignores Ctrl-C from then on
            for number, handler in handlers.items():
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
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_tips)


def _no_tips(record: logging.LogRecord) -> bool:
    return "Tip: " not in record.getMessage()
