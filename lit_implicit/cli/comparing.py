"""`lit-implicit report RUN_DIR...`: one table over runs, without importing torch."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lit_implicit.errors import ConfigError, DataError
from lit_implicit.reporting.comparison import read_run
from lit_implicit.reporting.comparison_files import print_comparison, write_comparison


def compare_runs(args: Sequence[str]) -> int:
    """Print a table over runs and, with `--output`, write it.

    Args:
        args: The arguments after `report`.

    Returns:
        0.

    Raises:
        ConfigError: If no run directory is named, or the output cannot be written.
        DataError: If one cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="lit-implicit report",
        description="Compare runs: their results, spreads over seeds, and settings that differ.",
    )
    parser.add_argument("run_dirs", nargs="*", metavar="RUN_DIR", help="Folder that a run printed.")
    parser.add_argument(
        "--output", metavar="FOLDER", help="Also write comparison.csv, .md and .png into it."
    )
    given, unknown = parser.parse_known_args(list(args))
    if unknown:
        raise ConfigError(f"`lit-implicit report` has no option {unknown[0]!r}, only `--output`.")
    if not given.run_dirs:
        raise ConfigError(
            "`lit-implicit report` needs run directories: `lit-implicit report runs/lp/*`."
        )
    runs = [read_run(folder) for folder in _finished(map(Path, given.run_dirs))]
    print_comparison(runs)
    if given.output is not None:
        try:
            write_comparison(runs, Path(given.output))
        except OSError as err:
            raise ConfigError(
                f"`--output` {given.output!r} cannot be written: {err.strerror}."
            ) from err
        print(f"Comparison written to {given.output}")  # noqa: T201
    return 0


def _finished(folders: Iterable[Path]) -> list[Path]:
    """Leave out the runs that were killed, or still go on: they have no report yet."""
    kept = []
    for folder in folders:
        begun = (folder / "config.yaml").is_file() or any(folder.glob("events.out.tfevents.*"))
        if begun and not (folder / "report.json").is_file():
            last = folder / "checkpoints" / "last.ckpt"
            how = f" Resume it from {last}." if last.is_file() else ""
            print(f"warning: {folder} is unfinished, and left out.{how}", file=sys.stderr)  # noqa: T201
        else:
            kept.append(folder)
    if not kept:
        raise DataError("None of these runs has ended: there is no report.json.")
    return kept
