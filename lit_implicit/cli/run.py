"""One run from beginning to end: the command, its table, and how to resume it if it broke off."""

import logging
import shlex
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.cli.first_pass import Request
from lit_implicit.cli.run_directory import forget_run_directory
from lit_implicit.errors import CheckpointError, ConfigError, LitImplicitError
from lit_implicit.reporting.table import print_report

if TYPE_CHECKING:
    from lit_implicit.callbacks.run_report import RunReport


@dataclass
class Run:
    """What is known of a run; filled in while it proceeds.

    Args:
        command: The command, as `fit`.
        line: The whole command line, for the report.
        folder: The run directory; None where nothing is written.
        report: The callback that collects the results.
        trainer: The trainer.
        curves: What the command `curve` measured.
    """

    command: str
    line: str
    folder: Path | None = None
    report: "RunReport | None" = None
    trainer: Trainer | None = None
    curves: dict[str, list[float]] | None = None


def execute(request: Request) -> int:
    """Run a command to its end, and say how it ended.

    Raises:
        LitImplicitError: If the user asked for something that cannot be done.
        Exception: Whatever else went wrong, with the command that resumes as a note.
    """
    from lit_implicit.cli.app import ImplicitCLI

    run = Run(request.command, shlex.join(["lit-implicit", *request.argv]))
    try:
        with warnings.catch_warnings():
            _silence()
            ImplicitCLI(request, run)
    except (KeyboardInterrupt, SystemExit) as err:  # Lightning exits after Ctrl-C
        _broke_off(run, "interrupted", err)
        raise
    except BaseException as err:
        _broke_off(run, "failed", err)
        if isinstance(err, MisconfigurationException):  # Lightning's word for a user's mistake
            raise ConfigError(str(err)) from err
        if isinstance(err, RuntimeError) and "loading state_dict" in str(err):
            raise CheckpointError(
                f"The checkpoint does not fit the model that the settings describe: {err}. The "
                "settings it was trained with stand in config.yaml of its run."
            ) from err
        raise
    finally:
        forget_run_directory()
    if run.report is not None:
        run.report.write("completed")
        print_report(run.report.content, run.folder, run.curves)
    return 0


def _silence() -> None:
    """Keep out what says nothing about the run: advertisements, and warnings about libraries."""
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    # The weights of one run, used in another: this is how a run directory is meant.
    warnings.filterwarnings("ignore", "The dirpath has changed from")
    warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`, callbacks used")
    # An optimizer on the command line takes the place of the module's: this is what it is for.
    warnings.filterwarnings("ignore", ".*configure_optimizers` will be overridden by")
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_tips)


def _no_tips(record: logging.LogRecord) -> bool:
    return "Tip: " not in record.getMessage()


@rank_zero_only
def _broke_off(run: Run, status: str, err: BaseException) -> None:
    folder = run.folder
    if folder is None or run.report is None or not run.report.started:
        if folder is not None and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # nothing began: leave nothing behind
        return
    run.report.write(status)
    if run.command != "fit":
        return
    last = folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        advice = f"No checkpoint was written yet. Run directory: {folder}"
    else:
        config = shlex.quote(str(folder / "config.yaml"))
        resume = f"lit-implicit fit --config {config} --ckpt_path {shlex.quote(str(last))}"
        advice = f"To resume: {resume}"
    if isinstance(err, (KeyboardInterrupt, SystemExit, LitImplicitError)):
        print(advice, file=sys.stderr)  # noqa: T201
    else:
        err.add_note(advice)  # stands below the traceback
