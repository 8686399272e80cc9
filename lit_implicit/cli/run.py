"""One run from beginning to end: the command, its table, and how to resume it if it broke off."""

import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.cli.first_pass import Request
from lit_implicit.cli.mistakes import as_mistake
from lit_implicit.cli.process import changed_process
from lit_implicit.cli.run_directory import forget_run_directory
from lit_implicit.cli.stop import StopOnSignal
from lit_implicit.errors import CheckpointError, LitImplicitError, ResourceError
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
        ckpt_path: The checkpoint that it began with, if any.
        curves: What the command `curve` measured.
        on_signal: What happens on SIGTERM and Ctrl-C.
        lost: Why a thread, such as TensorBoard's, could not write all of its own.
    """

    command: str
    line: str
    folder: Path | None = None
    report: "RunReport | None" = None
    trainer: Trainer | None = None
    ckpt_path: str | None = None
    curves: dict[str, list[float]] | None = None
    on_signal: StopOnSignal = field(default_factory=StopOnSignal)
    lost: LitImplicitError | None = None

    def lose(self, err: BaseException) -> bool:
        """Note that a thread could not write; say whether that is what it died of."""
        mistake = as_mistake(err, self.folder)
        self.lost = mistake or self.lost
        return mistake is not None


def execute(request: Request) -> int:
    """Run a command to its end, and say how it ended.

    Raises:
        LitImplicitError: If the user asked for something that cannot be done.
        Exception: Whatever else went wrong, with the command that resumes as a note.
    """
    from lit_implicit.cli.app import ImplicitCLI

    run = Run(request.command, shlex.join(["lit-implicit", *request.argv]))
    try:
        with changed_process(run.lose):
            ImplicitCLI(request, run)
            if run.report is not None:
                run.report.write("completed")
    except (KeyboardInterrupt, SystemExit) as err:  # Lightning exits after Ctrl-C
        _broke_off(run, "interrupted", err)
        if run.on_signal.interrupted or isinstance(err.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except BaseException as err:
        mistake = as_mistake(err, run.folder)
        _broke_off(run, "failed", mistake or err)
        if mistake is not None:
            raise mistake from err
        raise
    finally:
        forget_run_directory()
    if run.report is not None:
        print_report(run.report.content, run.folder, run.curves)
    if run.lost is not None:
        raise ResourceError(f"The run is complete, but not all was written. {run.lost}")
    return 0


@rank_zero_only
def _broke_off(run: Run, status: str, err: BaseException) -> None:
    folder = run.folder
    if folder is None or run.report is None or not run.report.started:
        if folder is not None and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # nothing began: leave nothing behind
        return
    with suppress(OSError):  # the disk may be full, and that is what is being told
        run.report.write(status)
    advice = _how_to_resume(run, folder, err)
    if isinstance(err, (KeyboardInterrupt, SystemExit, LitImplicitError)):
        print(advice, file=sys.stderr)  # noqa: T201
    else:
        err.add_note(advice)  # stands below the traceback


def _how_to_resume(run: Run, folder: Path, err: BaseException) -> str:
    if run.command != "fit":
        return f"Run directory, incomplete: {folder}"
    checkpoint = run.trainer.checkpoint_callback if run.trainer else None
    place = Path(getattr(checkpoint, "dirpath", None) or folder / "checkpoints") / "last.ckpt"
    # A resumed run that broke off before it wrote anything goes on from where it began.
    last = str(place) if place.is_file() else run.ckpt_path
    if last is None or (last == run.ckpt_path and isinstance(err, CheckpointError)):
        return f"No checkpoint was written yet. Run directory: {folder}"
    config = shlex.quote(str(folder / "config.yaml"))
    return f"To resume: lit-implicit fit --config {config} --ckpt_path {shlex.quote(last)}"
