"""The table that ends a run: its final metrics in plain words, and where everything lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

_WORDS = {
    "loss": "loss (lower is better)",
    "error": "error (lower is better)",
    "relative_residual": "relative residual |G(z) - z| / |G(z)|",
    "n_iter_mean": "iterations, mean",
    "n_iter_max": "iterations, most",
    "converged": "share of samples converged",
    "failed": "share of samples failed",
}
_STAGES = ("val", "test")


@rank_zero_only
def print_report(content: Mapping[str, Any], folder: Path | None) -> None:
    """Print the metrics of a finished run and, last, its directory.

    Args:
        content: The content of report.json.
        folder: The run directory; None if nothing was written.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    metrics = content["metrics"]
    stages = [stage for stage in _STAGES if metrics.get(stage)]
    if stages:
        table = Table(title=_title(content), title_justify="left")
        table.add_column("metric")
        for stage in stages:
            table.add_column(stage, justify="right")
        names = dict.fromkeys(name for stage in stages for name in metrics[stage])
        for name in sorted(names, key=_order):
            row = (_number(metrics[stage].get(name)) for stage in stages)
            table.add_row(in_words(name), *row)
        console.print(table)
    if folder is not None:
        # Plain prints: a path must not be wrapped at the width of the terminal.
        print(f"Curves and figures: tensorboard --logdir {folder.parent}")  # noqa: T201
        print(folder)  # noqa: T201


def in_words(name: str) -> str:
    """Put a metric's name in plain words, with its unit if the name tells it.

    Example:
        >>> in_words("solve_time_s")
        'solve time (s)'
    """
    if name in _WORDS:
        return _WORDS[name]
    for suffix, unit in (("_s", "s"), ("_bytes", "bytes")):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} ({unit})"
    return name.replace("_", " ")


def _title(content: Mapping[str, Any]) -> str:
    task = content.get("task") or "results"
    seconds = sum(content["seconds"].values())
    return f"{task}: {content['n_parameters']:,} parameters, {seconds:.0f} s, {content['device']}"


def _order(name: str) -> tuple[int, str]:
    known = list(_WORDS)
    return (known.index(name), "") if name in known else (len(known), name)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
