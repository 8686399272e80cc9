"""The table that ends a run: its final metrics in plain words, and where everything lies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.utilities import rank_zero_only

from lit_implicit.reporting.units import cost_in_words

if TYPE_CHECKING:
    from rich.table import Table

_WORDS = {
    "loss": "loss (lower is better)",
    "error": "error (lower is better)",
    "relative_residual": "relative residual |G(z) - z| / |G(z)|",
    "n_iter": "iterations",
    "n_iter_mean": "iterations, mean",
    "n_iter_max": "iterations, most",
    "converged": "share of samples converged",
    "failed": "share of samples failed",
    "contraction_factor": "contraction factor |dG/dz| at z*, largest",
    "contraction_factor_mean": "contraction factor |dG/dz| at z*, mean",
    "contracting": "share of samples where G contracts",
    "lipschitz_x": "slope of G(z*, .) in x, largest",
    "over_iteration": "audit: error at the end / least error",
    "audit_converged": "audit: share of samples converged",
    "path_independent": "audit: share with one end from all starts",
}
_CURVES = {
    "error_mean": "error, mean",
    "relative_residual": "relative residual",
    "relative_residual_mean": "relative residual, mean",
    "converged": "share converged",
}
_ESTIMATORS = {
    "lipschitz_": ("L_t, ", "pairs"),
    "jacobian_": ("Jacobian, ", "derivatives (Jacobian)"),
    "worst_pair": ("worst pair", "the worst pair found"),
}
_STAGES = ("val", "test")
_MOST_COLUMNS = 7  # beside t, in 80 characters


@rank_zero_only
def print_report(
    content: Mapping[str, Any],
    folder: Path | None,
    curves: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Print what a run ends with: one table and, last, its directory.

    Args:
        content: The content of report.json.
        folder: The run directory; None if nothing was written.
        curves: Curves as columns, the first being `t`; where given, they are the table.
    """
    from rich.console import Console

    tables = _curve_tables(curves) if curves else _metric_tables(content)
    # Plain prints around the table: Rich would wrap them, a path too, at some width.
    if tables:
        print(_title(content))  # noqa: T201
        for table in tables:
            Console(highlight=False).print(table)
        for line in _curve_notes(curves or {}):
            print(line)  # noqa: T201
    for finding in _findings(content):
        print(finding)  # noqa: T201
    if folder is not None:
        if (folder / "predictions").is_dir():
            print(f"Predictions: {folder / 'predictions'}")  # noqa: T201
        else:
            print(f"Curves and figures: tensorboard --logdir {folder.parent}")  # noqa: T201
        print(folder)  # noqa: T201


def _findings(content: Mapping[str, Any]) -> list[str]:
    """Return what the monitors found in the last stage that they measured."""
    findings = content.get("findings") or {}
    stage = next((stage for stage in reversed(_STAGES) if findings.get(stage)), None)
    return findings[stage] if stage else []


def _metric_tables(content: Mapping[str, Any]) -> "list[Table]":
    from rich.table import Table

    metrics = content["metrics"]
    if rows := content.get("predictions"):
        return [_row_table(rows)]
    stages = [stage for stage in _STAGES if metrics.get(stage)]
    if not stages:
        return []
    table = Table("metric")
    for stage in stages:
        table.add_column(stage, justify="right")
    names = dict.fromkeys(name for stage in stages for name in metrics[stage])
    for name in sorted(names, key=_order):
        table.add_row(in_words(name), *(_number(metrics[stage].get(name)) for stage in stages))
    return [table]


def _row_table(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """What `predict` found, as the task puts it; small numbers are given roughly."""
    from rich.table import Table

    table = Table(show_edge=False)
    for name in rows[0]:
        is_text = any(isinstance(row[name], str) for row in rows)
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(in_words(name), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*map(_rough, row.values()))
    return table


def _rough(value: Any) -> str:
    if not isinstance(value, float):
        return _number(value)
    return f"{value:.8g}" if abs(value) >= 1 else f"{value:.2g}"


def _curve_tables(curves: Mapping[str, Sequence[float]]) -> "list[Table]":
    """Curves at t = 0, 1, 2, 4, ... and at the last t; spreads and quantiles are in the files.

    One table, unless there are more columns than a screen has room for: then the slopes have their
    own, those by pairs and those by other means.
    """
    names = [name for name in curves if name in _CURVES or name.startswith(tuple(_ESTIMATORS))]
    if len(names) <= _MOST_COLUMNS:
        return [_curve_table(curves, names)]
    pairs, *others = _ESTIMATORS
    groups: list[list[str]] = [[], [], []]
    for name in names:
        groups[1 if name.startswith(pairs) else 2 * name.startswith(tuple(others))].append(name)
    return [_curve_table(curves, group) for group in groups if group]


def _curve_table(curves: Mapping[str, Sequence[float]], names: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("t", justify="right")
    for name in names:
        table.add_column(_CURVES.get(name) or _slope(name), justify="right")
    last = len(curves["t"]) - 1
    for t in sorted({0, last, *(2**k for k in range(last.bit_length()))}):
        table.add_row(str(t), *(_at(curves, name, t) for name in names))
    return table


def _slope(column: str) -> str:
    prefix = next(prefix for prefix in _ESTIMATORS if column.startswith(prefix))
    return _ESTIMATORS[prefix][0] + column.removeprefix(prefix)


def _curve_notes(curves: Mapping[str, Sequence[float]]) -> list[str]:
    """Say how the slopes were estimated, and what an iteration costs."""
    notes = []
    ways = [
        words
        for prefix, (_, words) in _ESTIMATORS.items()
        if any(name.startswith(prefix) for name in curves)
    ]
    if ways:
        known = f"{', '.join(ways[:-1])} and {ways[-1]}" if ways[1:] else ways[0]
        notes.append(f"L_t: Lipschitz constant of x -> y_t(x), an estimate from below by {known}")
    if "flops" in curves:
        cost = cost_in_words(curves["flops"], curves["seconds"])
        notes.append(f"Cost of {cost}")
    return notes


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


def _at(curves: Mapping[str, Sequence[float]], name: str, t: int) -> str:
    value = curves[name][t]
    unmeasured = name.startswith("worst_pair") and value != value
    return "" if unmeasured else _number(value)
